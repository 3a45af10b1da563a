// The transformations that panels use: Grafana's own, and beside them those that its program has and its package has not,
// which do what is written down in its documentation.
export const namer = (data) => (frame, field) => data.getFieldDisplayName(field, frame);

function extractFields(frame, { source, regExp }, named) {
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

function partitionByValues(frame, { fields: keys, keepFields, naming }, named) {
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

function timeSeriesTable(frames, trendOf) {
  const isSeries = (frame) => frame.meta?.type === 'timeseries-multi';
  const rows = frames.filter(isSeries);
  const refId = rows[0]?.refId;
  if (!rows.length) return frames;
  const labels = Object.keys(rows[0].fields[1].labels ?? {});
  const columns = labels.map((label) => ({
    name: label, type: 'string', config: {}, values: rows.map((frame) => frame.fields[1].labels[label]),
  }));
  columns.push({ name: `Trend #${refId}`, type: 'frame', config: {}, values: rows.map(trendOf) });
  return [...frames.filter((frame) => !isSeries(frame)), { refId, fields: columns, length: rows.length }];
}

// Makes them known to the package.
//
// data, operators: The packages @grafana/data and rxjs.
// version: That of the former.
// trendOf: What a trend's cell holds of the frame of a series.
export function register(data, operators, version, trendOf) {
  const named = namer(data);
  const ours = {
    extractFields: (options) => (frames) => frames.map((frame) => extractFields(frame, options, named)),
    partitionByValues: (options) => (frames) => frames.flatMap((frame) => partitionByValues(frame, options, named)),
    timeSeriesTable: () => (frames) => timeSeriesTable(frames, trendOf),
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
  const [major] = version.split('.');
  const entry = (one) => ({ id: one.id, name: one.name, transformation: Number(major) < 13 ? one : async () => one });
  data.standardTransformersRegistry.setInit(() => known.map(entry));
}
