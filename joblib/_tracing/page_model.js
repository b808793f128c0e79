// The data, as rows that can be searched, and how numbers are written.
const data = JSON.parse(document.getElementById("data").textContent);
const T = data.tasks, C = data.calls, N = T.start.length;
const $ = (id) => document.getElementById(id);

const span = (() => {
  let from = 0, to = data.duration;
  for (const some of [T, C]) {
    for (const t of some.start) if (t < from) from = t;
    for (const t of some.end) if (t > to) to = t;
  }
  return [from, Math.max(to, from + 1)];
})();

// One row for each level that a lane ran; first, if it made any, its calls (level -1).
// `reach` is the latest end so far, so that rows with overlaps can be searched too.
function rowOf(lane, level, items, some) {
  items.sort((a, b) => some.start[a] - some.start[b] || some.end[b] - some.end[a]);
  const n = items.length;
  const row = {
    lane, level, items, y: 0, h: 0,
    start: new Float64Array(n), end: new Float64Array(n), reach: new Float64Array(n),
  };
  let reach = -Infinity;
  items.forEach((item, i) => {
    row.start[i] = some.start[item];
    row.end[i] = Math.max(some.start[item], some.end[item]);
    row.reach[i] = reach = Math.max(reach, row.end[i]);
  });
  return row;
}

const rows = (() => {
  const levels = data.lanes.map(() => new Map());
  const add = (lane, level, item) => {
    const found = levels[lane].get(level);
    if (found) found.push(item); else levels[lane].set(level, [item]);
  };
  for (let c = 0; c < C.start.length; c++) if (C.parent[c] < 0) add(C.lane[c], -1, c);
  for (let t = 0; t < N; t++) add(T.lane[t], T.level[t], t);
  const made = [];
  levels.forEach((some, lane) => {
    if (!some.size) some.set(0, []);
    for (const level of [...some.keys()].sort((a, b) => a - b)) {
      made.push(rowOf(lane, level, some.get(level), level < 0 ? C : T));
    }
  });
  return made;
})();
const rowOfTask = new Map(rows.filter((r) => r.level >= 0).map((r) => [r.lane + " " + r.level, r]));
const rowFor = (task) => rowOfTask.get(T.lane[task] + " " + T.level[task]);

// The first place in a sorted array whose value is at least, or else above, `t`.
function search(sorted, t, above) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (above ? sorted[mid] <= t : sorted[mid] < t) low = mid + 1; else high = mid;
  }
  return low;
}

// Lists by parent: the children of a task, and the times in which it waited for them.
const children = new Map(), waits = new Map();
for (let t = 0; t < N; t++) {
  const parent = T.parent[t];
  if (parent < 0) continue;
  const found = children.get(parent);
  if (found) found.push(t); else children.set(parent, [t]);
}
for (let c = 0; c < C.start.length; c++) {
  const parent = C.parent[c];
  if (parent < 0) continue;
  const from = Math.max(C.start[c], T.start[parent]), to = Math.min(C.end[c], T.end[parent]);
  if (from >= to) continue;
  const found = waits.get(parent);
  if (!found) waits.set(parent, [[from, to]]);
  else if (from <= found[found.length - 1][1]) {
    found[found.length - 1][1] = Math.max(to, found[found.length - 1][1]);
  } else found.push([from, to]);
}

// How many lanes were busy, by bin: differences first, then their sums.
const BINS = 800;
const busy = (() => {
  const width = (span[1] - span[0]) / BINS;
  const part = new Float64Array(BINS + 1), whole = new Float64Array(BINS + 2);
  const add = (from, to, sign) => {
    const a = (from - span[0]) / width, b = (to - span[0]) / width;
    const i = Math.min(BINS - 1, Math.floor(a)), j = Math.min(BINS - 1, Math.floor(b));
    if (i === j) { part[i] += sign * (b - a); return; }
    part[i] += sign * (i + 1 - a);
    part[j] += sign * (b - j);
    whole[i + 1] += sign;
    whole[j] -= sign;
  };
  for (let t = 0; t < N; t++) if (T.end[t] > T.start[t]) add(T.start[t], T.end[t], 1);
  for (const some of waits.values()) for (const [from, to] of some) add(from, to, -1);
  const working = new Set(T.lane).size || 1;
  const share = new Float64Array(BINS);
  let sum = 0;
  for (let i = 0; i < BINS; i++) {
    sum += whole[i];
    share[i] = Math.min(1, Math.max(0, (sum + part[i]) / working));
  }
  return share;
})();

const round = (value, digits) => String(Number(value.toPrecision(digits)));
function time(us, digits = 3) {
  const size = Math.abs(us);
  if (size < 1e-9) return "0 s";
  if (size < 999.5) return round(us, digits) + " µs";
  if (size < 999.5e3) return round(us / 1e3, digits) + " ms";
  if (size < 60e6 || digits > 3) return round(us / 1e6, digits) + " s";
  const s = Math.round(us / 1e6);
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
}
function bytes(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 999.5) return round(n, 3) + " " + unit;
    n /= 1000;
  }
  return round(n, 3) + " TB";
}
