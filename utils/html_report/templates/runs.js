'use strict';
(() => {
{% include 'elements.js' %}

const draw = (tag, attributes, text) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const ROWS_SHOWN = 200, OPTIONS_SHOWN = 8;
const CONDITION = /^([\w/-]+?)(!=|<=|>=|=|<|>)(.*)$/;
const groups = JSON.parse(byId('data').textContent);
const form = byId('filters');
if (!form) return;

// --- values of a run

function textOf(value) {
  if (value === null || value === undefined || value === '') return '–';
  return typeof value === 'number' ? numberText(value, true) : String(value);
}

const numberOr = (value) => typeof value === 'number' ? numberText(value) : '–';
const textIn = (run, name) => (name in run.values || name === 'test' ? numberOr : textOf)(valueOf(run, name));

function durationOf(seconds) {
  if (seconds === null) return '–';
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60), rest = String(Math.floor(seconds % 60)).padStart(2, '0');
  if (seconds < 3600) return `${minutes}:${rest} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}:${String(minutes % 60).padStart(2, '0')} h` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// The value of a column as a number if it is one, for sorting, filtering and the scatter plot.
function valueOf(run, name) {
  if (name === 'name' || name === 'state' || name === 'date' || name === 'note') return run[name];
  if (name === 'seconds' || name === 'test' || name === 'bestEpoch') return run[name];
  if (name === 'epochs') return run.done;
  if (name in run.values) return run.values[name];
  const text = run.options[name];
  if (text === undefined || text === '') return null;
  return text.trim() !== '' && !Number.isNaN(Number(text)) ? Number(text) : text;
}

// Runs without a value come last in both directions.
function ordered(a, b, up) {
  if (a === null || a === undefined || b === null || b === undefined) return (a === null || a === undefined) - (b === null || b === undefined);
  const less = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), undefined, {numeric: true});
  return up ? less : -less;
}

// --- filters

const compare = {
  '<': (a, b) => a < b, '>': (a, b) => a > b, '<=': (a, b) => a <= b, '>=': (a, b) => a >= b,
};

function fits(run, words, state) {
  if (state && run.state !== state) return false;
  return words.every((word) => {
    const found = CONDITION.exec(word);
    if (found) return holds(run, found[1], found[2], found[3]);
    return run.searched.includes(word.toLowerCase());
  });
}

function holds(run, name, sign, wanted) {
  const value = valueOf(run, name);
  if (compare[sign]) return typeof value === 'number' && wanted !== '' && compare[sign](value, Number(wanted));
  const number = wanted !== '' && !Number.isNaN(Number(wanted));
  const same = number && typeof value === 'number' ? value === Number(wanted) : String(value ?? 'none').toLowerCase() === wanted.toLowerCase();
  return same === (sign === '=');
}

// --- a group: a scatter plot and a table

class Group {
  constructor(data, section) {
    Object.assign(this, data);
    this.section = section;
    this.sorted = {name: 'date', up: false};
    this.limit = ROWS_SHOWN;
    this.plots = [];
    for (const run of this.runs) {
      const options = Object.entries(run.options).map(([name, value]) => `${name}=${value}`);
      run.searched = [run.name, run.state, run.stateText, run.note ?? '', ...options].join(' ').toLowerCase();
    }
    const known = new Set(this.runs.flatMap((run) => Object.keys(run.values)));
    this.valueNames = [...known].sort((a, b) => (b === this.metric) - (a === this.metric) || a.localeCompare(b));
    const second = this.valueNames.find((name) => name === 'val/loss');
    const shown = this.options.slice(0, OPTIONS_SHOWN);
    this.shown = new Set([...(this.metric ? [this.metric] : []), ...(second ? [second] : []), ...shown]);
    this.hasTests = this.runs.some((run) => run.test !== null);
    const sign = this.mode === 'min' ? -1 : 1;
    const values = this.runs.map((run) => run.values[this.metric]).filter((value) => value !== undefined);
    this.bestValue = this.runs.length > 1 && values.length ? sign * Math.max(...values.map((value) => sign * value)) : null;
    this.build();
  }

  build() {
    const heading = make('h2', this.title);
    heading.append(' ', make('small', this.metric ? this.mode === 'min' ? translate('{metric}, lower is better', this) : translate('{metric}, higher is better', this) : ''));
    this.section.append(heading);
    if (this.runs.length > 2 && this.metric) {
      const plots = make('div', undefined, 'plots');
      this.plots = [new Scatter(this), new Curves(this)];
      plots.append(...this.plots.map((plot) => plot.element));
      this.section.append(plots);
    }
    if (this.options.length > OPTIONS_SHOWN || this.valueNames.length > 2) this.section.append(this.columnChoice());
    const box = make('div', undefined, 'scroll');
    this.table = make('table');
    this.head = this.table.createTHead();
    this.body = this.table.createTBody();
    box.append(this.table);
    this.more = make('button', '', 'more');
    this.more.type = 'button';
    this.more.addEventListener('click', () => { this.limit = Infinity; this.render(); });
    this.section.append(box, this.more);
  }

  columnChoice() {
    const details = make('details', undefined, 'columns screen');
    const choices = make('div', undefined, 'choices');
    for (const name of [...this.valueNames, ...this.options]) {
      const label = make('label'), box = make('input');
      box.type = 'checkbox';
      box.checked = this.shown.has(name);
      box.addEventListener('change', () => { this.shown[box.checked ? 'add' : 'delete'](name); this.render(); });
      label.append(box, ` ${name}`);
      choices.append(label);
    }
    details.append(make('summary', translate('Columns')), choices);
    return details;
  }

  columns() {
    const values = this.valueNames.filter((name) => this.shown.has(name));
    const options = this.options.filter((name) => this.shown.has(name));
    return [
      {name: 'name', title: translate('run')}, {name: 'date', title: translate('start')},
      ...(this.metric ? [{name: 'curve', title: this.metric}] : []),
      ...values.map((name) => ({name, title: name, number: true, value: true})),
      ...(this.hasTests ? [{name: 'test', title: translate('test'), number: true}] : []),
      {name: 'epochs', title: translate('epochs'), number: true}, {name: 'seconds', title: translate('time'), number: true},
      ...options.map((name) => ({name, title: name, option: true})),
    ];
  }

  filter(words, state) {
    this.found = this.runs.filter((run) => fits(run, words, state));
    this.render();
    for (const plot of this.plots) plot.render();
    return this.found.length;
  }

  render() {
    const {name, up} = this.sorted;
    const rows = [...this.found].sort((a, b) => ordered(valueOf(a, name), valueOf(b, name), up));
    const columns = this.columns();
    this.head.replaceChildren(this.headRow(columns));
    this.body.replaceChildren(...rows.slice(0, this.limit).map((run) => this.row(run, columns)));
    this.more.hidden = rows.length <= this.limit;
    this.more.textContent = translate('Show all {count} runs', {count: rows.length.toLocaleString('en')});
    this.section.hidden = !rows.length;
  }

  headRow(columns) {
    const line = make('tr');
    for (const column of columns) {
      const cell = make('th', undefined, column.number ? 'number' : column.option ? 'option' : '');
      if (column.name === 'curve') {
        cell.textContent = translate('curve');
      } else {
        cell.append(headButton(column.title, () => this.sort(column)));
        if (this.sorted.name === column.name) cell.setAttribute('aria-sort', this.sorted.up ? 'ascending' : 'descending');
      }
      line.append(cell);
    }
    return line;
  }

  // The runs that are found, the best first.
  best() {
    const known = this.found.filter((run) => this.metric in run.values);
    return known.sort((a, b) => ordered(a.values[this.metric], b.values[this.metric], this.mode === 'min'));
  }

  choose(run) {
    this.limit = Infinity;
    this.render();
    const line = [...this.body.rows].find((row) => row.dataset.run === run.name);
    line.classList.add('chosen');
    line.scrollIntoView({block: 'center'});
  }

  sort(column) {
    const first = column.value ? this.mode === 'min' || /(^|\/)loss/.test(column.name) : column.name === 'name' || column.option;
    this.sorted = {name: column.name, up: this.sorted.name === column.name ? !this.sorted.up : Boolean(first)};
    this.render();
  }

  row(run, columns) {
    const line = make('tr');
    line.dataset.run = run.name;
    for (const column of columns) line.append(this.cell(run, column));
    return line;
  }

  cell(run, column) {
    const {name} = column;
    if (name === 'name') return nameCell(run);
    const cell = make('td', undefined, column.number ? 'number' : column.option ? 'option' : '');
    if (name === 'date') cell.append(run.date ?? '–', make('small', run.stateText, `state ${run.state}`));
    else if (name === 'curve') cell.append(...sparkline(run));
    else if (name === 'epochs') twoLines(cell, translate('{done} of {epochs}', {done: run.done, epochs: run.epochs ?? '?'}), run.bestEpoch ? translate('best: {epoch}', {epoch: run.bestEpoch}) : '');
    else if (name === 'seconds') cell.textContent = durationOf(run.seconds);
    else if (column.option) cell.textContent = run.options[name] || '–';
    else cell.textContent = numberOr(valueOf(run, name));
    if (name === this.metric && this.bestValue !== null && run.values[name] === this.bestValue) cell.classList.add('best');
    if (column.option) cell.title = cell.textContent;
    if (name === 'test' && run.test !== null && run.warning) {
      cell.append(make('small', run.warning.slice(0, 1) === '?' ? translate('code changed') : translate('not as recorded'), 'warning'));
      cell.title = run.warning;
    }
    return cell;
  }
}

function twoLines(cell, first, second) {
  cell.append(first);
  if (second) cell.append(make('small', second));
}

function nameCell(run) {
  const cell = make('td', undefined, 'name'), links = make('small');
  const name = make('a', run.name);
  name.href = run.links.report ?? run.links.files;
  cell.append(name);
  for (const [label, path] of Object.entries(run.links)) {
    const link = make('a', run.linkTexts[label]);
    link.href = path;
    links.append(link);
  }
  cell.append(links);
  if (run.note) cell.append(make('small', run.note));
  return cell;
}

function sparkline(run) {
  if (!run.curve.length) return [];
  const width = 110, height = 30;
  const epochs = run.curve.map(([epoch]) => epoch), values = run.curve.map(([, value]) => value);
  const low = Math.min(...values), high = Math.max(...values), end = Math.max(run.epochs ?? 0, ...epochs);
  const x = (epoch) => end > 1 ? 3 + (width - 6) * (epoch - 1) / (end - 1) : width / 2;
  const y = (value) => high > low ? height - 3 - (height - 6) * (value - low) / (high - low) : height / 2;
  const svg = draw('svg', {class: 'spark', viewBox: `0 0 ${width} ${height}`, role: 'img'});
  svg.append(draw('title', {}, translate('{first} to {last}', {first: numberText(values[0]), last: numberText(values[values.length - 1])})));
  svg.append(draw('path', {d: run.curve.map(([epoch, value], i) => `${i ? 'L' : 'M'}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join('')}));
  const best = run.curve.find(([epoch]) => epoch === run.bestEpoch);
  if (best) svg.append(draw('circle', {cx: x(best[0]).toFixed(1), cy: y(best[1]).toFixed(1), r: 2.8}));
  return [svg];
}

{% include 'runs_plots.js' %}

// --- the page

const made = groups.map((data, index) => new Group(data, byId(`group${index}`)));
const states = new Map(made.flatMap((group) => group.runs.map((run) => [run.state, run.stateText])).sort());
form.elements.state.append(new Option(translate('all'), ''), ...[...states].map(([state, text]) => new Option(text, state)));
const total = made.reduce((sum, group) => sum + group.runs.length, 0);

function update() {
  const words = form.elements.text.value.trim().split(/\s+/).filter(Boolean);
  const found = made.reduce((sum, group) => sum + group.filter(words, form.elements.state.value), 0);
  byId('count').textContent = translate(plural(total, '{found} of {count} run', '{found} of {count} runs'), {found: found.toLocaleString('en'), count: total.toLocaleString('en')});
}
form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('input', update);
update();
})();
