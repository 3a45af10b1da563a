// Evaluates a panel's transformations with Grafana's own package: standard input has frames and transformations, standard
// output the frames that come out, each column by the name that a person sees.
import './browser.mjs';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.GRAFANA_PACKAGES, 'package.json'));
const data = require('@grafana/data');
const operators = require('rxjs');

// Grafana's program has these, not its package: what they do is written down in its documentation.
const named = (frame, field) => data.getFieldDisplayName(field, frame);

function extractFields(frame, { source, regExp }) {
  const field = frame.fields.find((one) => named(frame, one) === source || one.name === source);
  if (!field) return frame;
  const [, pattern, flags] = /^\/(.*)\/(\w*)$/.exec(regExp);
  const found = field.values.map((value) => String(value).match(new RegExp(pattern, flags))?.groups ?? {});
  const names = [...new Set(found.flatMap((groups) => Object.keys(groups)))];
  const added = names.map((name) => ({
    name, type: 'string', config: {}, values: found.map((groups) => groups[name]),
  }));
  return { ...frame, fields: [...frame.fields, ...added] };
}

function partitionByValues(frame, { fields: keys, keepFields, naming }) {
  const by = frame.fields.filter((one) => keys.includes(named(frame, one)));
  if (!by.length) return [frame];
  const groups = new Map();
  for (let row = 0; row < frame.length; row++) {
    const values = by.map((field) => field.values[row]);
    const key = JSON.stringify(values.map(String));
    if (!groups.has(key)) groups.set(key, { values, rows: [] });
    groups.get(key).rows.push(row);
  }
  return [...groups.values()].map(({ values, rows }) => ({
    ...frame, name: naming.asLabels ? frame.name : values.join(' '), length: rows.length,
    fields: frame.fields.filter((one) => keepFields || !by.includes(one)).map((one) => ({
      ...one, state: undefined, values: rows.map((row) => one.values[row]),
      labels: naming.asLabels ? Object.fromEntries(by.map((key, i) => [named(frame, key), String(values[i])])) : one.labels,
    })),
  }));
}

function timeSeriesTable(frames) {
  const isSeries = (frame) => frame.meta?.type === 'timeseries-multi';
  const rows = frames.filter(isSeries);
  const refId = rows[0]?.refId;
  if (!rows.length) return frames;
  const labels = Object.keys(rows[0].fields[1].labels ?? {});
  const columns = labels.map((label) => ({
    name: label, type: 'string', config: {}, values: rows.map((frame) => frame.fields[1].labels[label]),
  }));
  columns.push({ name: `Trend #${refId}`, type: 'frame', config: {}, values: rows.map((frame) => [...frame.fields[1].values]) });
  return [...frames.filter((frame) => !isSeries(frame)), { refId, fields: columns, length: rows.length }];
}

const ours = {
  extractFields: (options) => (frames) => frames.map((frame) => extractFields(frame, options)),
  partitionByValues: (options) => (frames) => frames.flatMap((frame) => partitionByValues(frame, options)),
  timeSeriesTable: () => timeSeriesTable,
};
const transformer = (id, does) => ({
  id, name: id, defaultOptions: {}, operator: (options) => (source) => source.pipe(operators.map(does(options))),
});

const every = [
  ...Object.values(data.standardTransformers),
  ...Object.entries(ours).map(([id, does]) => transformer(id, does)),
];
// One of theirs is there under its old name too.
const known = [...new Map(every.map((one) => [one.id, one])).values()];
// From 13 on they are loaded when they are needed.
const [major] = require('@grafana/data/package.json').version.split('.');
const entry = (one) => ({ id: one.id, name: one.name, transformation: Number(major) < 13 ? one : async () => one });
data.standardTransformersRegistry.setInit(() => known.map(entry));

const asked = JSON.parse(readFileSync(0, 'utf8'));
const frames = asked.frames.map((frame) => ({ ...data.toDataFrame(frame), meta: frame.meta }));
const operate = data.transformDataFrame(asked.transformations, frames);
const out = await operators.lastValueFrom(operate);
const shown = out.map((frame) => ({
  name: frame.name ?? '',
  refId: frame.refId ?? '',
  length: frame.length,
  columns: Object.fromEntries(frame.fields.map((field) => [named(frame, field), field.values])),
}));
process.stdout.write(JSON.stringify(shown, (_, value) => (Number.isNaN(value) ? 'NaN' : value)), () => process.exit(0));
