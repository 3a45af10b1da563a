// What Grafana's flame graph makes of a panel's answers: standard input has frames and transformations, standard output each
// bar with its level, where it begins, how long it is, what it took of its own, and the bar above it.
import './browser.mjs';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { register } from './transformers.mjs';

const packages = process.env.GRAFANA_PACKAGES;
const require = createRequire(join(packages, 'package.json'));
const data = require('@grafana/data');
const operators = require('rxjs');
register(data, operators, require('@grafana/data/package.json').version, (frame) => frame);

// It asks for the languages of a reader; Node.js has had them since 21.
globalThis.navigator ??= { language: 'en', languages: ['en'] };

// The whole package would load all of Grafana's components.
const own = join(packages, 'node_modules/@grafana/flamegraph/dist/cjs/FlameGraph/dataTransform.cjs');
const { FlameGraphDataContainer } = createRequire(pathToFileURL(own))(own);

const asked = JSON.parse(readFileSync(0, 'utf8'));
const frames = asked.frames.map((frame) => ({ ...data.toDataFrame(frame), meta: frame.meta }));
const [frame] = await operators.lastValueFrom(data.transformDataFrame(asked.transformations, frames));
const graph = new FlameGraphDataContainer(frame, { collapsing: true });
const bars = graph.getLevels().flat().map((bar) => ({
  label: graph.getLabel(bar.itemIndexes[0]),
  level: bar.level,
  start: bar.start,
  value: bar.value,
  self: graph.getSelf(bar.itemIndexes),
  above: bar.parents ? graph.getLabel(bar.parents[0].itemIndexes[0]) : null,
}));
process.stdout.write(JSON.stringify(bars), () => process.exit(0));
