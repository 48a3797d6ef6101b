'use strict';
(() => {
const byId = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};

// Tables with few rows: a click on a column's name sorts.
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') === 'descending';
    heads.forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = (row) => {
      const cell = row.cells[place];
      if (cell.dataset.sort === undefined) return cell.textContent.trim();
      return cell.dataset.sort === '' ? null : Number(cell.dataset.sort);
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => ordered(key(a), key(b), up));
    table.tBodies[0].append(...rows);
  }));
}

// What is empty comes last, whichever way is sorted.
function ordered(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  const less = typeof a === 'number' ? a - b : a.localeCompare(b, undefined, {numeric: true});
  return up ? less : -less;
}

const slider = byId('alpha');
if (slider) slider.addEventListener('input', () => document.documentElement.style.setProperty('--alpha', slider.value));

if (!byId('data')) return;
const {columns, shown, scores, kind} = JSON.parse(byId('data').textContent);
const column = Object.fromEntries(columns.map((one) => [one.name, one]));
const cards = {};
for (const card of document.querySelectorAll('.card')) cards[card.dataset.row] = card;
const names = kind === 'label' ? column.target.names : kind === 'labels' ? column.target.names : [];
const PER_PAGE = 50;
const form = byId('filters'), head = byId('rows').tHead, body = byId('rows').tBodies[0];
let order = [], page = 0, sorted = null, open = null, walk = [];

function textOf(one, row) {
  const value = one.values[row];
  if (one.type === 'class') return one.names[value];
  if (one.type === 'classes') return value.split('|').join(', ') || 'none';
  if (value === null) return '–';
  return one.type === 'number' ? String(Number(value.toPrecision(4))) : value;
}

// --- the table of all samples

function filtered() {
  const wanted = Object.fromEntries(new FormData(form));
  const text = wanted.text.trim().toLowerCase();
  const texts = columns.filter((one) => one.type !== 'number');
  const low = wanted.low === '' ? -Infinity : Number(wanted.low), high = wanted.high === '' ? Infinity : Number(wanted.high);
  const bounded = low > -Infinity || high < Infinity;
  const number = column[wanted.number];
  const found = [];
  for (let row = 0; row < shown.length; row++) {
    if (text && !texts.some((one) => textOf(one, row).toLowerCase().includes(text))) continue;
    if (!fits('target', wanted.target, row) || !fits('prediction', wanted.prediction, row)) continue;
    if (wanted.right && String(column.correct.values[row]) !== wanted.right) continue;
    if (wanted.drawn && !cards[row]) continue;
    if (bounded) {
      const value = number.values[row];
      if (value === null || value < low || value > high) continue;
    }
    found.push(row);
  }
  return found;
}

function fits(name, wanted, row) {
  if (wanted === undefined || wanted === '') return true;
  const one = column[name];
  if (one.type === 'class') return one.values[row] === Number(wanted);
  return one.values[row].split('|').includes(one.names[Number(wanted)]);
}

function update() {
  order = filtered();
  if (sorted) {
    const one = column[sorted.name];
    const keys = one.values.map((value, row) => one.type === 'number' ? value : textOf(one, row));
    order.sort((a, b) => ordered(keys[a], keys[b], sorted.up) || a - b);
  }
  page = 0;
  render();
}

function render() {
  const pages = Math.max(1, Math.ceil(order.length / PER_PAGE));
  body.replaceChildren(...order.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(rowOf));
  byId('count').textContent = `${order.length.toLocaleString('en')} of ${shown.length.toLocaleString('en')} samples.`;
  byId('where').textContent = `Page ${page + 1} of ${pages}`;
  byId('back').disabled = page === 0;
  byId('next').disabled = page >= pages - 1;
  for (const cell of head.rows[0].cells) {
    cell.removeAttribute('aria-sort');
    if (sorted && cell.dataset.name === sorted.name) cell.setAttribute('aria-sort', sorted.up ? 'ascending' : 'descending');
  }
}

function rowOf(row) {
  const line = make('tr');
  line.dataset.row = row;
  line.tabIndex = 0;
  if (hasPictures) {
    const cell = make('td', undefined, 'thumb');
    const picture = cards[row] && cards[row].querySelector('.pane svg');
    if (picture) cell.append(copied(picture));
    line.append(cell);
  }
  for (const one of columns) line.append(make('td', textOf(one, row), one.type === 'number' ? 'number' : ''));
  return line;
}

// A copy must not have the id by which other layers name a picture.
function copied(element) {
  const copy = element.cloneNode(true);
  for (const part of copy.querySelectorAll('[id]')) part.removeAttribute('id');
  return copy;
}

const hasPictures = Object.values(cards).some((card) => card.querySelector('.pane'));
const firstLine = make('tr');
if (hasPictures) firstLine.append(make('th', '', 'thumb'));
for (const one of columns) {
  const cell = make('th', undefined, one.type === 'number' ? 'number' : '');
  const button = make('button', one.name);
  button.type = 'button';
  button.addEventListener('click', () => {
    const same = sorted && sorted.name === one.name;
    sorted = {name: one.name, up: same ? !sorted.up : one.type !== 'number'};
    update();
  });
  cell.dataset.name = one.name;
  cell.append(button);
  firstLine.append(cell);
}
head.append(firstLine);

for (const name of ['target', 'prediction']) {
  const select = form.elements[name];
  if (!names.length) { select.closest('label').remove(); continue; }
  select.append(new Option('any', ''), ...column[name].names.map((text, index) => new Option(text, index)));
}
if (!column.correct) form.elements.right.closest('label').remove();
for (const one of columns) if (one.type === 'number') form.elements.number.append(new Option(one.name, one.name));
if (!hasPictures) form.elements.drawn.closest('label').remove();
form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('input', update);
form.addEventListener('reset', () => setTimeout(update));
byId('back').addEventListener('click', () => { page--; render(); });
byId('next').addEventListener('click', () => { page++; render(); });

function showPair(truth, said) {
  if (!names.length) return;
  form.reset();
  form.elements.target.value = truth;
  form.elements.prediction.value = said;
  update();
  byId('samples').scrollIntoView();
}

// --- one sample, large

function show(row, among) {
  walk = among;
  open = row;
  byId('large-name').textContent = textOf(columns[0], row);
  const card = cards[row];
  const picture = card && (card.querySelector('.panes') || card.querySelector('.fault'));
  byId('large-picture').replaceChildren(...(picture ? [copied(picture)] : []));
  const facts = make('table', undefined, 'facts');
  for (const one of columns.slice(1)) {
    const line = facts.insertRow();
    line.append(make('th', one.name), make('td', textOf(one, row)));
  }
  byId('large-facts').replaceChildren(facts);
  if (scores[row]) byId('large-facts').append(probabilities(scores[row]));
  const place = walk.indexOf(row);
  byId('previous').disabled = place <= 0;
  byId('following').disabled = place < 0 || place >= walk.length - 1;
  if (!byId('large').open) byId('large').showModal();
}

function probabilities(those) {
  const table = make('table', undefined, 'probabilities');
  for (const [name, value] of those) {
    const line = table.insertRow(), meter = make('span', undefined, 'meter'), bar = make('i'), cell = make('td');
    bar.style.width = `${value * 100}%`;
    meter.append(bar);
    cell.append(meter);
    line.append(make('td', name), make('td', `${(value * 100).toFixed(1)}%`, 'number'), cell);
  }
  return table;
}

function step(by) {
  const row = walk[walk.indexOf(open) + by];
  if (row !== undefined) show(row, walk);
}

function activate(event) {
  const card = event.target.closest('.card'), pair = event.target.closest('.pair'), line = event.target.closest('#rows tbody tr');
  if (card) show(Number(card.dataset.row), [...card.parentElement.children].map((one) => Number(one.dataset.row)));
  else if (line) show(Number(line.dataset.row), order);
  else if (pair) showPair(pair.dataset.truth, pair.dataset.said);
  return card || pair || line;
}

document.addEventListener('click', activate);
document.addEventListener('keydown', (event) => {
  if (byId('large').open) {
    if (event.key === 'ArrowLeft') step(-1);
    if (event.key === 'ArrowRight') step(1);
  } else if ((event.key === 'Enter' || event.key === ' ') && event.target.matches('.card, .pair, #rows tbody tr')) {
    event.preventDefault();
    activate(event);
  }
});
byId('previous').addEventListener('click', () => step(-1));
byId('following').addEventListener('click', () => step(1));
byId('close').addEventListener('click', () => byId('large').close());
byId('large').addEventListener('click', (event) => { if (event.target === byId('large')) byId('large').close(); });

// --- the confusion matrix

const matrix = document.querySelector('svg.matrix');
if (matrix) {
  const labels = JSON.parse(matrix.dataset.names);
  const said = byId('matrix-cell');
  matrix.addEventListener('pointerover', (event) => {
    const cell = event.target.dataset.c;
    if (!cell) return;
    const [truth, taken, count, share] = cell.split(',').map(Number);
    said.textContent = `${labels[truth]} taken for ${labels[taken]}: ${count.toLocaleString('en')}, ${(share * 100).toFixed(1)}% of ${labels[truth]}`;
  });
  matrix.addEventListener('click', (event) => {
    const cell = event.target.dataset.c;
    if (cell) showPair(...cell.split(','));
  });
}

sorted = {
  label: {name: 'target_probability', up: true}, labels: {name: column.loss ? 'loss' : 'correct', up: !column.loss},
  mask: {name: 'miou', up: true}, picture: {name: 'psnr', up: true},
  numbers: {name: column.loss ? 'loss' : 'name', up: !column.loss},
}[kind];
update();
})();
