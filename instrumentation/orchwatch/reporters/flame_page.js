'use strict';
(() => {
  const { names, kinds, frames, compared } = JSON.parse(document.getElementById('data').textContent);
  const [NAME, KIND, LEVEL, TOTAL, OWN, COUNT, ERRORS, NOW, BEFORE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const ROW_REM = 1.5, LEAST = 0.0005, MOST = 4000;
  const graph = document.getElementById('graph'), detail = document.getElementById('detail');
  const word = document.getElementById('word'), found = document.getElementById('found');

  // Frame 0 is all of them; below it each has its place, its callers' and where it begins.
  const all = [null, null, -1, 0, 0, 0, 0, 0, 0];
  const nodes = [all, ...frames];
  const parent = [0], begin = [0], children = [[]], path = [0];
  let deepest = 0;
  frames.forEach((frame, index) => {
    const at = index + 1, above = path[frame[LEVEL]];
    if (frame[LEVEL] === 0) for (const part of [TOTAL, COUNT, ERRORS, NOW, BEFORE]) all[part] += frame[part] || 0;
    parent.push(above);
    children.push([]);
    const before = children[above].at(-1);
    begin.push(before === undefined ? begin[above] : begin[before] + nodes[before][TOTAL]);
    children[above].push(at);
    path[frame[LEVEL] + 1] = at;
    deepest = Math.max(deepest, frame[LEVEL] + 1);
  });

  const digits = (value) => String(Number(value.toPrecision(3)));
  const time = (ns) => {
    const size = Math.abs(ns);
    if (size < 1e6) return digits(ns / 1e3) + '\u00b5s';
    if (size < 1e9) return digits(ns / 1e6) + 'ms';
    if (size < 6e10) return digits(ns / 1e9) + 's';
    const s = Math.round(size / 1e9), two = (n) => String(n).padStart(2, '0'), sign = ns < 0 ? '-' : '';
    if (s < 3600) return sign + Math.floor(s / 60) + 'm' + two(s % 60) + 's';
    return sign + Math.floor(s / 3600) + 'h' + two(Math.floor(s % 3600 / 60)) + 'm';
  };
  const share = (part, whole) => whole ? digits(100 * part / whole) + '%' : '-';
  const nameOf = (at) => at ? names[nodes[at][NAME]] : 'all';
  const grown = (at) => nodes[at][NOW] - nodes[at][BEFORE];
  const signed = (ns) => (ns > 0 ? '+' : '') + time(ns);
  const look = (at) => {
    if (!at) return 'other';
    if (!compared) return kinds[nodes[at][KIND]];
    const change = grown(at), least = Math.max(nodes[at][NOW], nodes[at][BEFORE]) / 20;
    return change > least ? 'more' : change < -least ? 'less' : 'same';
  };
  const told = (at) => {
    const frame = nodes[at];
    if (compared) {
      return `${nameOf(at)}: ${time(frame[NOW])}, before ${time(frame[BEFORE])} (${signed(grown(at))})`;
    }
    const parts = [
      `${nameOf(at)}: ${time(frame[TOTAL])} (${share(frame[TOTAL], all[TOTAL])})`,
      `own ${time(frame[OWN])}`, `${frame[COUNT]} spans`,
    ];
    if (frame[ERRORS]) parts.push(`${frame[ERRORS]} failed`);
    return parts.join(', ');
  };

  let zoomed = 0, current = 0, sought = '';

  function shown() {
    const picked = [];
    for (let at = zoomed; at; at = parent[at]) picked.push(at);
    if (zoomed) picked.push(0);
    const waiting = zoomed ? [...children[zoomed]] : [0];
    const width = nodes[zoomed][TOTAL] || 1;
    for (let next = 0; next < waiting.length && picked.length < MOST; next++) {
      const at = waiting[next];
      if (at && nodes[at][TOTAL] / width < LEAST) continue;
      picked.push(at);
      waiting.push(...children[at]);
    }
    return picked;
  }

  function draw(focus) {
    graph.textContent = '';
    graph.style.height = `${(deepest + 1) * ROW_REM}rem`;
    const width = nodes[zoomed][TOTAL] || 1, left = begin[zoomed];
    const picked = new Set(shown());
    if (!picked.has(current)) current = zoomed;
    for (const at of picked) {
      const frame = nodes[at], above = zoomed && frame[LEVEL] <= nodes[zoomed][LEVEL];
      const element = document.createElement('div');
      element.className = `frame ${look(at)}`;
      if (above && at !== zoomed) element.classList.add('past');
      if (sought) element.classList.add(nameOf(at).toLowerCase().includes(sought) ? 'hit' : 'miss');
      element.style.top = `${(frame[LEVEL] + 1) * ROW_REM}rem`;
      element.style.left = above ? '0' : `${100 * (begin[at] - left) / width}%`;
      element.style.width = above ? '100%' : `${100 * frame[TOTAL] / width}%`;
      element.textContent = compared && at ? `${nameOf(at)} ${signed(grown(at))}` : nameOf(at);
      element.setAttribute('role', 'treeitem');
      element.setAttribute('aria-level', String(frame[LEVEL] + 2));
      element.setAttribute('aria-label', told(at));
      element.title = told(at);
      element.tabIndex = at === current ? 0 : -1;
      element.dataset.at = String(at);
      graph.append(element);
    }
    if (focus) graph.querySelector('[tabindex="0"]')?.focus();
  }

  function go(at) {
    const element = graph.querySelector(`[data-at="${at}"]`);
    if (!element) return;
    graph.querySelector('[tabindex="0"]')?.setAttribute('tabindex', '-1');
    current = at;
    element.tabIndex = 0;
    element.focus();
  }

  function beside(step) {
    const row = [...graph.children].map((one) => Number(one.dataset.at))
      .filter((at) => nodes[at][LEVEL] === nodes[current][LEVEL])
      .sort((one, other) => begin[one] - begin[other]);
    const next = row[row.indexOf(current) + step];
    if (next !== undefined) go(next);
  }

  function zoom(at) {
    zoomed = at;
    current = at;
    draw(true);
  }

  const atOf = (event) => {
    const element = event.target.closest('.frame');
    return element ? Number(element.dataset.at) : null;
  };
  graph.addEventListener('click', (event) => { const at = atOf(event); if (at !== null) zoom(at); });
  graph.addEventListener('focusin', (event) => {
    const at = atOf(event);
    if (at === null) return;
    current = at;
    detail.textContent = told(at);
  });
  graph.addEventListener('pointerover', (event) => { const at = atOf(event); if (at !== null) detail.textContent = told(at); });
  graph.addEventListener('keydown', (event) => {
    const moves = {
      ArrowUp: () => go(parent[current]),
      ArrowDown: () => go(children[current].find((at) => graph.querySelector(`[data-at="${at}"]`)) ?? current),
      ArrowLeft: () => beside(-1),
      ArrowRight: () => beside(1),
      Home: () => go(0),
      Enter: () => zoom(current),
      ' ': () => zoom(current),
    };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { word.value = ''; search(); zoom(0); }
    if (event.key === '/' && event.target !== word) { event.preventDefault(); word.focus(); }
  });
  function search() {
    sought = word.value.trim().toLowerCase();
    let time_ns = 0;
    // A hit within another one is counted with that.
    const within = [false];
    nodes.forEach((frame, at) => {
      if (!at) return;
      const hit = Boolean(sought) && nameOf(at).toLowerCase().includes(sought);
      if (hit && !within[parent[at]]) time_ns += frame[TOTAL];
      within.push(hit || within[parent[at]]);
    });
    found.textContent = sought ? `${time(time_ns)} (${share(time_ns, all[TOTAL])})` : '';
    draw(false);
  }
  word.addEventListener('input', search);
  document.getElementById('find').addEventListener('submit', (event) => event.preventDefault());
  document.getElementById('all').addEventListener('click', () => zoom(0));
  draw(false);
})();
