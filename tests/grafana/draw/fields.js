// Frames as Grafana gives them to a panel: transformed, and each field with what the panel and its overrides say of it.
import {
  FieldConfigOptionsRegistry, applyFieldOverrides, cacheFieldDisplayNames, dataLinksOverrideProcessor, displayNameOverrideProcessor,
  identityOverrideProcessor, locationUtil, toDataFrame, transformDataFrame, unitOverrideProcessor,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

locationUtil.initialize({ config: { appSubUrl: '' }, getVariablesUrlParams: () => ({}), getTimeRangeForUrl: () => ({}) });

// Of each property that a panel sets how Grafana takes it over; of those that are not here, as they are.
const processors = { unit: unitOverrideProcessor, links: dataLinksOverrideProcessor, displayName: displayNameOverrideProcessor };
const every = { shouldApply: () => true, settings: {} };
const standard = ['unit', 'decimals', 'min', 'max', 'mappings', 'thresholds', 'links', 'displayName', 'noValue', 'color'];

function registry({ defaults, overrides }) {
  const set = overrides.flatMap((one) => one.properties.map((property) => property.id));
  const custom = [...Object.keys(defaults.custom ?? {}).map((name) => `custom.${name}`), ...set]
    .filter((id) => id.startsWith('custom.'));
  const items = [...standard, ...new Set(custom)].map((id) => ({
    id, name: id, isCustom: id.startsWith('custom.'), path: id.replace('custom.', ''),
    process: processors[id] ?? identityOverrideProcessor, ...every,
  }));
  return new FieldConfigOptionsRegistry(() => items);
}

export async function fielded(panel, frames, { theme, fill, defaults }) {
  const given = frames.map((frame) => ({ ...toDataFrame(frame), meta: frame.meta }));
  const changed = await lastValueFrom(transformDataFrame(panel.transformations ?? [], given));
  const fieldConfig = {
    overrides: panel.fieldConfig?.overrides ?? [],
    defaults: { ...panel.fieldConfig?.defaults, custom: { ...defaults, ...panel.fieldConfig?.defaults?.custom } },
  };
  const data = applyFieldOverrides({
    data: changed, fieldConfig, theme, replaceVariables: fill, timeZone: 'utc', fieldConfigRegistry: registry(fieldConfig),
  });
  cacheFieldDisplayNames(data);
  return { data, fieldConfig };
}
