// Draws a page of Grafana's: `draw` takes it with what its queries answered and lays it out in the page's grid.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/inter/600.css';
import './page.css';

import * as data from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, PanelChrome, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import * as operators from 'rxjs';
import icons from 'icons';

import { register } from '../transformers.mjs';
import { fielded } from './fields.js';
import { DEFAULTS, drawnBy } from './panels.jsx';

const COLUMNS = 24;
const CELL_PX = 30;
const GAP_PX = 8;

// Icons are asked for like this; nothing else is.
globalThis.__grafana_public_path__ = 'public/';
globalThis.fetch = async (address) => {
  const name = String(address).replace(/^.*img\/icons\//, '');
  return new Response(icons[name] ?? '<svg xmlns="http://www.w3.org/2000/svg"/>', { headers: { 'content-type': 'image/svg+xml' } });
};

// A trend's cell holds the series itself.
register(data, operators, '12', (frame) => ({ ...frame, value: frame.fields[1].values.at(-1) }));

// A text with its variables; what a link or a field fills in by itself is left.
const filler = (values) => (text) =>
  String(text ?? '').replace(/\$(?:(\w+)|\{(\w+)(?::(\w+))?\})/g, (all, bare, braced, form) =>
    values[`${braced}:${form}`] ?? values[bare ?? braced] ?? all);

function place({ x, y, w, h }, width) {
  const column = (width - GAP_PX * (COLUMNS - 1)) / COLUMNS;
  const along = (cells) => cells * (column + GAP_PX);
  const down = (cells) => cells * (CELL_PX + GAP_PX);
  return { left: along(x), top: down(y), width: along(w) - GAP_PX, height: down(h) - GAP_PX };
}

function Panel({ one, fill, width, theme, range }) {
  const at = place(one.panel.gridPos, width);
  if (one.panel.type === 'row') return <div className="heading" style={at}>{fill(one.panel.title)}</div>;
  const Drawn = drawnBy(one.panel);
  return (
    <div className="place" style={at}>
      <PanelChrome width={at.width} height={at.height} title={fill(one.panel.title)} description={one.panel.description}
        padding={one.panel.type === 'table' ? 'none' : 'md'}>
        {(inner, high) => (
          <Drawn panel={one.panel} data={one.data} fieldConfig={one.fieldConfig} width={inner} height={high}
            theme={theme} range={range} fill={fill} />
        )}
      </PanelChrome>
    </div>
  );
}

function Page({ asked, panels, theme, range, fill }) {
  const width = asked.width - 2 * GAP_PX;
  const bottom = Math.max(...panels.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  const high = bottom * (CELL_PX + GAP_PX);
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <header style={{ color: theme.colors.text.primary }}>
        <h1>{asked.page.title}</h1>
        {asked.chosen.map(([label, value]) => <span key={label}><b>{label}</b> {value}</span>)}
      </header>
      <main style={{ width, height: high }}>
        {panels.map((one) => <Panel key={one.panel.id} {...{ one, fill, width, theme, range }} />)}
      </main>
    </ThemeContext.Provider>
  );
}

const frame = () => new Promise(requestAnimationFrame);

let root;
globalThis.draw = async (asked) => {
  await initPluginTranslations('pictures');
  const theme = data.createTheme({ colors: { mode: asked.mode } });
  document.body.style.background = theme.colors.background.canvas;
  document.body.className = asked.mode;
  const fill = filler(asked.values);
  const [from, to] = asked.range.map((ms) => data.dateTime(ms));
  const range = { from, to, raw: { from, to } };
  const panels = await Promise.all(asked.panels.map(async ({ panel, frames }) => ({
    panel, ...(await fielded(panel, frames, { theme, fill, defaults: DEFAULTS[panel.type] })),
  })));
  root?.unmount();
  root = createRoot(document.getElementById('root'));
  root.render(<Page {...{ asked, panels, theme, range, fill }} />);
  await document.fonts.load('14px Inter');
  await document.fonts.ready;
  for (let times = 0; times < 5; times++) await frame();
  return document.documentElement.scrollHeight;
};

// What a person cannot read to its end, a line each: texts that are wider than what they stand in.
globalThis.cut = () => [...document.querySelectorAll('main *')]
  .filter((one) => {
    const { overflowX, textOverflow } = getComputedStyle(one);
    return one.scrollWidth > one.clientWidth + 1 && one.textContent && !one.querySelector('canvas')
      && (textOverflow === 'ellipsis' || overflowX === 'hidden' || overflowX === 'auto' || overflowX === 'clip');
  })
  .map((one) => `${one.closest('.place')?.querySelector('h2')?.textContent}: ${one.textContent.slice(0, 80)} (${one.scrollWidth} in ${one.clientWidth})`);
