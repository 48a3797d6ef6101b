// --- plots of a group: any value against any option, and the curves of the best runs

const LOG_RATIO = 30, COLOURS = 8, CURVES_SHOWN = 8, MAX_OUTLINED = 100;
const IS_NARROW = matchMedia('(max-width:640px)').matches;  // with larger text: see runs.css
const BOX = {width: 620, height: IS_NARROW ? 344 : 330, left: IS_NARROW ? 104 : 62, right: 606, top: 12, bottom: 284};

// A frame with axes: svg, and x and y, functions from a value to a position.
function frame(xs, ys, titles) {
  const axes = {x: axisOf(xs, titles.isDate === 'x', titles.linear === 'x'), y: axisOf(ys, titles.isDate === 'y')};
  const svg = draw('svg', {class: 'points', viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: 'img', 'aria-label': translate('{y} by {x}', titles)});
  const x = (value) => BOX.left + axes.x.at(value) * (BOX.right - BOX.left);
  const y = (value) => BOX.bottom - axes.y.at(value) * (BOX.bottom - BOX.top);
  for (const {value, text} of axes.x.ticks) {
    svg.append(draw('line', {x1: x(value), x2: x(value), y1: BOX.top, y2: BOX.bottom}));
    svg.append(draw('text', {x: x(value), y: BOX.bottom + 17, 'text-anchor': 'middle'}, text));
  }
  for (const {value, text} of axes.y.ticks) {
    svg.append(draw('line', {x1: BOX.left, x2: BOX.right, y1: y(value), y2: y(value)}));
    svg.append(draw('text', {x: BOX.left - 7, y: y(value) + 4, 'text-anchor': 'end'}, text));
  }
  const middle = {x: (BOX.left + BOX.right) / 2, y: (BOX.top + BOX.bottom) / 2};
  const named = (axis) => axes[axis].log ? translate('{name} (logarithmic)', {name: titles[axis]}) : titles[axis];
  svg.append(draw('text', {class: 'axis', x: middle.x, y: BOX.height - 8, 'text-anchor': 'middle'}, named('x')));
  svg.append(draw('text', {class: 'axis', transform: `translate(14 ${middle.y}) rotate(-90)`, 'text-anchor': 'middle'}, named('y')));
  return {svg, x, y, axes};
}

function legendItem(text, line, onClick) {
  const item = make('li');
  item.append(make('i', undefined, `line${line % COLOURS}`), text);
  if (onClick) { item.addEventListener('click', onClick); item.className = 'choice'; }
  return item;
}

class Plot {
  constructor(group, title) {
    this.group = group;
    this.element = make('figure');
    this.tools = make('div', undefined, 'tools');
    this.tools.append(make('strong', title));
    this.box = make('div', undefined, 'plot-box');
    this.legend = make('ul', undefined, 'lines');
    this.element.append(this.tools, this.box, this.legend);
  }

  // Show `text` beside a mark of the plot while the pointer or the focus is on it; a click goes to the run's row.
  explain(mark, run, text) {
    const show = (event) => {
      const tip = make('div', text, 'tip'), box = this.box.getBoundingClientRect(), at = mark.getBoundingClientRect();
      const left = event.type === 'focus' ? at.right - box.left : event.clientX - box.left;
      tip.style.left = `${Math.max(0, Math.min(left + 12, box.width - 210))}px`;
      tip.style.top = `${(event.type === 'focus' ? at.bottom : event.clientY) - box.top + 12}px`;
      this.box.append(tip);
    };
    const hide = () => this.box.querySelectorAll('.tip').forEach((tip) => tip.remove());
    for (const event of ['pointerenter', 'focus']) mark.addEventListener(event, show);
    for (const event of ['pointerleave', 'blur']) mark.addEventListener(event, hide);
    mark.addEventListener('click', () => this.group.choose(run));
  }
}

class Scatter extends Plot {
  constructor(group) {
    super(group, translate('Scatter plot'));
    const facts = [['date', translate('start')], ['seconds', translate('time in seconds')], ['epochs', translate('epochs done')]];
    const values = group.valueNames.map((name) => [name, name]);
    if (group.hasTests) values.push(['test', translate('test')]);
    const options = group.options.map((name) => [name, name]);
    const numeric = ['lr', ...group.options].find((name) => group.options.includes(name) && group.runs.some((run) => typeof valueOf(run, name) === 'number'));
    this.x = this.select('x', [...options, ...facts, ...values], numeric ?? group.options[0] ?? 'date');
    this.y = this.select('y', [...values, ...options, ...facts], group.metric);
    this.colour = this.select(translate('colour'), [['', translate('none')], ['state', translate('state')], ...options], '');
  }

  select(title, choices, chosen) {
    const label = make('label', `${title} `), select = make('select');
    for (const [value, text] of choices) select.append(new Option(text, value, false, value === chosen));
    select.addEventListener('change', () => this.render());
    label.append(select);
    this.tools.append(label);
    return select;
  }

  render() {
    const [x, y, colour] = [this.x, this.y, this.colour].map((select) => select.value);
    const runs = this.group.found.map((run) => ({run, x: plotted(run, x), y: plotted(run, y), colour: colour ? valueOf(run, colour) : ''}));
    const points = runs.filter((point) => point.x !== null && point.y !== null);
    const titles = {x: this.x.selectedOptions[0].text, y: this.y.selectedOptions[0].text, isDate: x === 'date' ? 'x' : y === 'date' ? 'y' : ''};
    const field = frame(points.map((point) => point.x), points.map((point) => point.y), titles);
    const classes = [...new Set(points.map((point) => point.colour))].sort((a, b) => ordered(a, b, true));
    if (points.length > MAX_OUTLINED) field.svg.classList.add('dense'); // outlines of many points would hide the points below
    points.forEach((point, index) => {
      // Points of the same class of an option are spread a little, so that none hides another.
      const spread = (axis) => field.axes[axis].classes ? ((index * 0.618) % 1 - 0.5) * 22 : 0;
      const line = classes.indexOf(point.colour) % COLOURS;
      const circle = draw('circle', {cx: field.x(point.x) + spread('x'), cy: field.y(point.y) + spread('y'), r: 5, fill: `var(--line${line})`, tabindex: 0});
      const told = (select) => `${select.selectedOptions[0].text} ${textIn(point.run, select.value)}`;
      this.explain(circle, point.run, `${point.run.name}: ${told(this.x)}, ${told(this.y)}`);
      field.svg.append(circle);
    });
    this.box.replaceChildren(field.svg);
    const missing = runs.length - points.length;
    if (missing) this.box.append(make('p', translate(plural(missing, 'Without a value: {count} run.', 'Without a value: {count} runs.'), {count: missing.toLocaleString('en')}), 'note'));
    this.legend.replaceChildren(...(colour ? classes : []).map((value, index) => legendItem(textOf(value), index)));
  }
}

class Curves extends Plot {
  constructor(group) {
    super(group, translate('Curves of the best runs, {metric}', {metric: group.metric}));
  }

  render() {
    const runs = this.group.best().filter((run) => run.curve.length).slice(0, CURVES_SHOWN);
    const points = runs.flatMap((run) => run.curve);
    const titles = {x: translate('epoch'), y: this.group.metric, linear: 'x'};
    const field = frame(points.map(([epoch]) => epoch), points.map(([, value]) => value), titles);
    runs.forEach((run, index) => {
      const d = run.curve.map(([epoch, value], i) => `${i ? 'L' : 'M'}${field.x(epoch).toFixed(1)} ${field.y(value).toFixed(1)}`).join('');
      const path = draw('path', {d, class: 'curve', stroke: `var(--line${index % COLOURS})`, tabindex: 0});
      this.explain(path, run, `${run.name}: ${numberText(run.values[this.group.metric])}`);
      field.svg.append(path);
      const best = run.curve.find(([epoch]) => epoch === run.bestEpoch);
      if (best) field.svg.append(draw('circle', {cx: field.x(best[0]), cy: field.y(best[1]), r: 4, fill: `var(--line${index % COLOURS})`}));
    });
    this.box.replaceChildren(field.svg);
    this.legend.replaceChildren(...runs.map((run, index) => legendItem(run.name, index, () => this.group.choose(run))));
  }
}

function plotted(run, name) {
  const value = valueOf(run, name);
  if (value === null || value === undefined) return null;
  return name === 'date' ? Date.parse(value.replace(' ', 'T')) : value;
}

// The scale of an axis: at(value) in 0..1, ticks (whole numbers for whole values), and whether it is logarithmic, unless
// `linear`, or has classes.
function axisOf(values, isDate, linear) {
  if (values.some((value) => typeof value !== 'number')) {
    const classes = [...new Set(values.map(String))].sort((a, b) => a.localeCompare(b, undefined, {numeric: true}));
    const at = (value) => (classes.indexOf(String(value)) + 0.5) / classes.length;
    return {at, classes: true, ticks: classes.map((value) => ({value, text: value.length > 14 ? `${value.slice(0, 13)}…` : value}))};
  }
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const log = !isDate && !linear && low > 0 && high / low > LOG_RATIO;
  const map = log ? Math.log10 : (value) => value;
  const margin = (map(high) - map(low) || Math.abs(map(low)) || 1) * 0.06;
  const [from, to] = [map(low) - margin, map(high) + margin];
  const ticks = (log ? logTicks : isDate ? dateTicks : linearTicks)(from, to, values.every(Number.isInteger));
  return {at: (value) => (map(value) - from) / (to - from), log, ticks};
}

function linearTicks(from, to, whole) {
  const raw = (to - from) / 6, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw && (each >= 1 || !whole)) ?? 1;
  const ticks = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) {
    ticks.push({value: i * step, text: String(Number((i * step).toPrecision(6)))});
  }
  return ticks;
}

function logTicks(from, to) {
  const ticks = [], factors = to - from > 3 ? [1] : [1, 3];
  for (let power = Math.floor(from); power <= to; power++) {
    for (const factor of factors) {
      const value = Number((factor * 10 ** power).toPrecision(3));
      if (Math.log10(value) >= from && Math.log10(value) <= to) ticks.push({value, text: value >= 1e-4 && value < 1e5 ? String(value) : value.toExponential(0)});
    }
  }
  return ticks;
}

// Dates for a span of days, else times to the minute, or to the second for a span of minutes, so that no two are equal.
function dateTicks(from, to) {
  const span = to - from;
  const [begin, end] = span > 3 * 864e5 ? [0, 10] : span > 6e5 ? [5, 16] : [11, 19];
  return [0.1, 0.3, 0.5, 0.7, 0.9].map((share) => {
    const value = from + span * share;
    return {value, text: new Date(value).toLocaleString('sv').slice(begin, end)};
  });
}

