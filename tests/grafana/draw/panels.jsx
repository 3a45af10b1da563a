// Each type of panel with Grafana's own component for it. Some have none in its packages: the picture says so.
import { VizOrientation, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

// What Grafana's program has for what a panel leaves out; its packages do not have it.
export const DEFAULTS = {
  timeseries: {
    drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, showPoints: 'auto', pointSize: 5,
    axisPlacement: 'auto', axisColorMode: 'text', scaleDistribution: { type: 'linear' }, stacking: { mode: 'none', group: 'A' },
    thresholdsStyle: { mode: 'off' }, hideFrom: { legend: false, tooltip: false, viz: false },
  },
};

function Words({ children }) {
  return <div className="words">{children}</div>;
}

const hasRows = (frame) => frame.fields.length > 0 && frame.length > 0;
const empty = (panel) => panel.fieldConfig?.defaults?.noValue ?? 'No data';

function Stat({ panel, data, fieldConfig, width, height, theme, fill }) {
  const { options } = panel;
  const getValues = () => getFieldDisplayValues({
    data, fieldConfig, theme, reduceOptions: options.reduceOptions, replaceVariables: fill, sparkline: false, timeZone: 'utc',
  });
  return (
    <VizRepeater
      {...{ width, height, getValues, source: data, renderCounter: 0, itemSpacing: 3, autoGrid: true }}
      orientation={options.orientation ?? VizOrientation.Auto}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width, height, alignmentFactors, count }) => (
        <BigValue
          {...{ width, height, alignmentFactors, count, theme, value: value.display, text: options.text }}
          colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode}
          textMode={options.textMode} disableWideLayout={!options.wideLayout}
        />
      )}
    />
  );
}

function Table({ panel, data, fieldConfig, width, height, range }) {
  const shown = data[panel.options.frameIndex ?? 0];
  if (!shown?.fields.length) return <Words>{empty(panel)}</Words>;
  return (
    <TableNG
      {...{ width, height, data: shown, fieldConfig, timeRange: range, cellHeight: panel.options.cellHeight }}
      noHeader={!panel.options.showHeader} getActions={() => []} enableVirtualization={false}
    />
  );
}

// As Grafana's program prepares them: numbers over time; a field that a panel hides is not drawn.
function drawable(data) {
  const isLine = (field) => field.type === 'time' || field.type === 'number';
  return data.filter(hasRows).map((frame) => ({ ...frame, fields: frame.fields.filter(isLine) }));
}

function Lines({ panel, data, width, height, range }) {
  const frames = drawable(data);
  if (!frames.length) return <Words>{empty(panel)}</Words>;
  return <TimeSeries {...{ frames, width, height, timeRange: range, timeZone: 'utc', legend: panel.options.legend, structureRev: 1 }} />;
}

function None({ panel, data }) {
  const rows = data.filter(hasRows).reduce((sum, frame) => sum + frame.length, 0);
  if (!rows) return <Words>{empty(panel)}</Words>;
  return <Words>{`${rows} rows, drawn by Grafana alone: its packages have no component for a ${panel.type}.`}</Words>;
}

export const DRAWN_BY = { stat: Stat, table: Table, timeseries: Lines };
export const drawnBy = (panel) => DRAWN_BY[panel.type] ?? None;
