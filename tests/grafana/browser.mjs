// What Grafana's packages ask of a browser while they are loaded; none of it matters to data.
const anything = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => '' : key === 'length' ? 0 : anything),
  apply: () => anything,
  construct: () => anything,
});
globalThis.window = globalThis;
const asked = ['document', 'localStorage', 'sessionStorage', 'history', 'location', 'addEventListener', 'matchMedia'];
for (const name of asked) globalThis[name] = anything;
for (const word of ['warn', 'info', 'log']) console[word] = () => undefined;
