// Says what Grafana's own types find wrong with pages, a line each: the pages are its arguments, the directory of Grafana's
// packages is in GRAFANA_PACKAGES.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const packages = process.env.GRAFANA_PACKAGES;
const ts = createRequire(join(packages, 'package.json'))('typescript');
const types = join(packages, 'node_modules/@grafana/schema/dist/types');
const kinds = ['stat', 'table', 'timeseries', 'heatmap', 'stateTimeline', 'nodeGraph'];
// These are the data source's own, which it moves to where it likes them.
const ofDataSource = ['expr', 'step', 'titleFormat', 'textFormat'];
const kindOf = (panel) => panel.type.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());

const lines = [
  // JSON has the texts of an enumeration, which are not its members.
  'type Loose<T> = unknown extends T ? T : T extends string ? `${T}` : T extends object ? { [K in keyof T]: Loose<T[K]> } : T;',
  `import type { Dashboard } from '${types}/veneer/dashboard.types';`,
  ...kinds.map((kind) => `import type * as ${kind} from '${types}/raw/composable/${kind.toLowerCase()}/panelcfg/x/types.gen';`),
];
const subjects = [];
function state(subject, value, type) {
  subjects[lines.length] = subject;
  lines.push(`(${JSON.stringify(value)}) satisfies Loose<${type}>;`);
}
for (const file of process.argv.slice(2)) {
  const page = JSON.parse(readFileSync(file, 'utf8'));
  for (const one of page.annotations?.list ?? []) for (const name of ofDataSource) delete one[name];
  state(page.title, page, 'Dashboard');
  for (const panel of page.panels.flatMap((one) => [one, ...(one.panels ?? [])])) {
    const kind = kindOf(panel);
    if (!kinds.includes(kind)) continue;
    state(`${page.title} / ${panel.title}, options`, panel.options ?? {}, `Partial<${kind}.Options>`);
    const custom = panel.fieldConfig?.defaults?.custom;
    if (custom) state(`${page.title} / ${panel.title}, custom`, custom, `Partial<${kind}.FieldConfig>`);
  }
}

const name = 'pages.ts';
const options = {
  noEmit: true, strict: true, skipLibCheck: true, types: [],
  target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
};
const host = ts.createCompilerHost(options);
const read = host.getSourceFile;
host.getSourceFile = (file, version) => (file === name ? ts.createSourceFile(name, lines.join('\n'), version) : read(file, version));
for (const found of ts.getPreEmitDiagnostics(ts.createProgram([name], options, host))) {
  const line = found.file?.fileName === name ? found.file.getLineAndCharacterOfPosition(found.start).line : -1;
  process.stdout.write(`${subjects[line] ?? name}: ${ts.flattenDiagnosticMessageText(found.messageText, ' ')}\n`);
}
