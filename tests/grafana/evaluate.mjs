// Evaluates a panel's transformations with Grafana's own package: standard input has frames and transformations, standard
// output the frames that come out, each column by the name that a person sees.
import './browser.mjs';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

import { namer, register } from './transformers.mjs';

const require = createRequire(join(process.env.GRAFANA_PACKAGES, 'package.json'));
const data = require('@grafana/data');
const operators = require('rxjs');
register(data, operators, require('@grafana/data/package.json').version, (frame) => [...frame.fields[1].values]);

const named = namer(data);
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
