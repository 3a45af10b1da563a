// Puts the drawer and Grafana's packages into one script and one style sheet that a browser loads: its argument is the
// directory that gets both, the directory of Grafana's packages is in GRAFANA_PACKAGES.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const packages = process.env.GRAFANA_PACKAGES;
const { build } = createRequire(join(packages, 'package.json'))('esbuild');
const modules = join(packages, 'node_modules');
const pictures = join(modules, '@grafana/ui/dist/public/img/icons');

// Grafana's program serves these to its icons.
const icons = {
  name: 'icons',
  setup(made) {
    made.onResolve({ filter: /^icons$/ }, () => ({ path: 'icons', namespace: 'icons' }));
    made.onLoad({ filter: /.*/, namespace: 'icons' }, () => {
      const found = readdirSync(pictures, { recursive: true }).filter((name) => name.endsWith('.svg'));
      const texts = Object.fromEntries(found.map((name) => [name, readFileSync(join(pictures, name), 'utf8')]));
      return { contents: `export default ${JSON.stringify(texts)}`, loader: 'js' };
    });
  },
};

await build({
  entryPoints: { page: join(import.meta.dirname, 'page.jsx') },
  outdir: process.argv[2],
  bundle: true,
  minify: true,
  jsx: 'automatic',
  nodePaths: [modules],
  loader: { '.woff2': 'dataurl', '.woff': 'empty', '.ttf': 'empty', '.svg': 'text' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
  plugins: [icons],
  logLevel: 'error',
});
