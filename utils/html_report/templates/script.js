'use strict';
(() => {
{% include 'elements.js' %}

// Small tables: a click on a column's name sorts.
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => onActivate(head.firstElementChild, () => {
    const up = head.getAttribute('aria-sort') === 'descending';
    heads.forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = (row) => {
      const cell = row.cells[index];
      if (cell.dataset.sort === undefined) return cell.textContent.trim();
      return cell.dataset.sort === '' ? null : Number(cell.dataset.sort);
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => ordered(key(a), key(b), up));
    table.tBodies[0].append(...rows);
  }));
}

// Empty cells come last in both directions.
function ordered(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  const less = typeof a === 'number' ? a - b : a.localeCompare(b, undefined, {numeric: true});
  return up ? less : -less;
}

const slider = byId('alpha');
if (slider) slider.addEventListener('input', () => document.documentElement.style.setProperty('--alpha', slider.value));

if (!byId('data')) return;
const {columns, shown, scores, targetKind} = JSON.parse(byId('data').textContent);
const columnByName = Object.fromEntries(columns.map((column) => [column.name, column]));
const cards = {};
for (const card of document.querySelectorAll('.card')) cards[card.dataset.row] = card;
const names = ['label', 'labels'].includes(targetKind) ? columnByName.target.names : [];
const PER_PAGE = 50;
const form = byId('filters'), head = byId('rows').tHead, body = byId('rows').tBodies[0];
let order = [], page = 0, sorted = null, open = null, sequence = [];

function textOf(column, row) {
  const value = column.values[row];
  if (column.type === 'class') return column.names[value];
  if (column.type === 'classes') return value.split('|').join(', ') || translate('none');
  if (value === null) return '–';
  if (column.name === 'correct') return value ? translate('yes') : translate('no');
  return column.type !== 'number' ? value : column.whole ? String(value) : numberText(value);
}

// --- the table of all samples

function filtered() {
  const wanted = Object.fromEntries(new FormData(form));
  const text = wanted.text.trim().toLowerCase();
  const texts = columns.filter((column) => column.type !== 'number');
  const low = wanted.low === '' ? -Infinity : Number(wanted.low), high = wanted.high === '' ? Infinity : Number(wanted.high);
  const bounded = low > -Infinity || high < Infinity;
  const number = columnByName[wanted.number];
  const found = [];
  for (let row = 0; row < shown.length; row++) {
    if (text && !texts.some((column) => textOf(column, row).toLowerCase().includes(text))) continue;
    if (!fits('target', wanted.target, row) || !fits('prediction', wanted.prediction, row)) continue;
    if (wanted.right && String(columnByName.correct.values[row]) !== wanted.right) continue;
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
  const column = columnByName[name];
  if (column.type === 'class') return column.values[row] === Number(wanted);
  return column.values[row].split('|').includes(column.names[Number(wanted)]);
}

function update() {
  order = filtered();
  if (sorted) {
    const column = columnByName[sorted.name];
    const keys = column.values.map((value, row) => column.type === 'number' ? value : textOf(column, row));
    order.sort((a, b) => ordered(keys[a], keys[b], sorted.up) || a - b);
  }
  page = 0;
  render();
}

function render() {
  const pages = Math.max(1, Math.ceil(order.length / PER_PAGE));
  body.replaceChildren(...order.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(rowOf));
  byId('count').textContent = translate(plural(shown.length, '{found} of {count} sample.', '{found} of {count} samples.'), {found: order.length.toLocaleString('en'), count: shown.length.toLocaleString('en')});
  byId('where').textContent = translate('Page {page} of {pages}', {page: page + 1, pages});
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
  if (hasImages) {
    const cell = make('td', undefined, 'thumb');
    const image = cards[row] && cards[row].querySelector('.pane svg');
    if (image) cell.append(copied(image));
    line.append(cell);
  }
  for (const column of columns) line.append(make('td', textOf(column, row), column.type === 'number' ? 'number' : ''));
  return line;
}

// A copy must not have the ids that other layers refer to.
function copied(element) {
  const copy = element.cloneNode(true);
  for (const part of copy.querySelectorAll('[id]')) part.removeAttribute('id');
  return copy;
}

const hasImages = Object.values(cards).some((card) => card.querySelector('.pane'));
const headRow = make('tr');
if (hasImages) headRow.append(make('th', '', 'thumb'));
for (const column of columns) {
  const cell = make('th', undefined, column.type === 'number' ? 'number' : '');
  cell.dataset.name = column.name;
  cell.append(headButton(column.title ?? column.name, () => {
    const same = sorted && sorted.name === column.name;
    sorted = {name: column.name, up: same ? !sorted.up : column.type !== 'number'};
    update();
  }));
  headRow.append(cell);
}
head.append(headRow);

for (const name of ['target', 'prediction']) {
  const select = form.elements[name];
  if (!names.length) { select.closest('label').remove(); continue; }
  select.append(new Option(translate('any'), ''), ...columnByName[name].names.map((text, index) => new Option(text, index)));
}
if (!columnByName.correct) form.elements.right.closest('label').remove();
for (const column of columns) {
  if (column.type === 'number' && column.name !== 'correct') form.elements.number.append(new Option(column.title ?? column.name, column.name));
}
if (!hasImages) form.elements.drawn.closest('label').remove();
form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('input', update);
form.addEventListener('reset', () => setTimeout(update));
byId('back').addEventListener('click', () => { page--; render(); });
byId('next').addEventListener('click', () => { page++; render(); });

function showPair(truth, predicted) {
  if (!names.length) return;
  form.reset();
  form.elements.target.value = truth;
  form.elements.prediction.value = predicted;
  update();
  byId('samples').scrollIntoView();
}

// --- one sample, enlarged

function show(row, rows) {
  sequence = rows;
  open = row;
  byId('large-name').textContent = textOf(columns[0], row);
  const card = cards[row];
  const image = card && (card.querySelector('.panes') || card.querySelector('.fault'));
  byId('large-picture').replaceChildren(...(image ? [copied(image)] : []));
  const legend = document.querySelector('main .legend');
  byId('large-legend').replaceChildren(...(image && legend ? [copied(legend)] : []));
  const facts = make('table', undefined, 'facts');
  for (const column of columns.slice(1)) {
    const line = facts.insertRow();
    line.append(make('th', column.title ?? column.name), make('td', textOf(column, row)));
  }
  byId('large-facts').replaceChildren(facts);
  if (scores[row]) byId('large-facts').append(probabilities(scores[row]));
  const position = sequence.indexOf(row);
  byId('previous').disabled = position <= 0;
  byId('following').disabled = position < 0 || position >= sequence.length - 1;
  if (!byId('large').open) byId('large').showModal();
}

function probabilities(values) {
  const table = make('table', undefined, 'probabilities');
  for (const [name, value] of values) {
    const line = table.insertRow(), meter = make('span', undefined, 'meter'), bar = make('i'), cell = make('td');
    bar.style.width = `${value * 100}%`;
    meter.append(bar);
    cell.append(meter);
    line.append(make('td', name), make('td', `${(value * 100).toFixed(1)}%`, 'number'), cell);
  }
  return table;
}

function step(by) {
  const row = sequence[sequence.indexOf(open) + by];
  if (row !== undefined) show(row, sequence);
}

for (const more of document.querySelectorAll('button.more')) {
  more.addEventListener('click', () => { more.previousElementSibling.classList.add('all'); more.remove(); });
}

function activate(event) {
  const card = event.target.closest('.card'), pair = event.target.closest('.pair'), line = event.target.closest('#rows tbody tr');
  if (card) show(Number(card.dataset.row), [...card.parentElement.children].map((each) => Number(each.dataset.row)));
  else if (line) show(Number(line.dataset.row), order);
  else if (pair) showPair(pair.dataset.truth, pair.dataset.predicted);
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
  const caption = byId('matrix-cell');
  matrix.addEventListener('pointerover', (event) => {
    const cell = event.target.dataset.c;
    if (!cell) return;
    const [truth, predicted, count, share] = cell.split(',').map(Number);
    caption.textContent = translate('{truth} predicted as {prediction}: {count}, {share}% of {truth}', {
      truth: labels[truth], prediction: labels[predicted], count: count.toLocaleString('en'), share: (share * 100).toFixed(1),
    });
  });
  matrix.addEventListener('click', (event) => {
    const cell = event.target.dataset.c;
    if (cell) showPair(...cell.split(','));
  });
  if (byId('matrix-unit')) byId('matrix-unit').addEventListener('change', () => writeCells(matrix, byId('matrix-unit').value));
  for (const button of document.querySelectorAll('[data-save]')) button.addEventListener('click', () => save(matrix, button.dataset.save));
}

function writeCells(matrix, unit) {
  for (const text of matrix.querySelectorAll('.count')) {
    const share = text.previousElementSibling.dataset.c.split(',')[3] * 100;
    text.dataset.count ??= text.textContent;
    text.textContent = unit === 'count' ? text.dataset.count : share >= 9.95 || share === 0 ? share.toFixed(0) : share.toFixed(1);
  }
}

// The matrix as a file of its own, with titles of its axes: styles of the page become attributes of the copy.
function save(matrix, format) {
  const copy = matrix.cloneNode(true), title = 26, size = Number(matrix.getAttribute('width')) + title;
  const {color, backgroundColor} = getComputedStyle(document.body);
  const parts = [...copy.querySelectorAll('rect,text')];
  [...matrix.querySelectorAll('rect,text')].forEach((part, i) => {
    const style = getComputedStyle(part);
    for (const name of ['fill', 'fill-opacity', 'dominant-baseline', 'text-anchor']) parts[i].setAttribute(name, style.getPropertyValue(name));
  });
  const add = (tag, attributes, text) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    copy[tag === 'rect' ? 'prepend' : 'append'](element);
  };
  add('rect', {x: -title, y: -title, width: size, height: size, fill: backgroundColor}, '');
  const isShare = byId('matrix-unit') && byId('matrix-unit').value === 'share';
  const prediction = isShare ? translate('prediction (percent of the true class)') : translate('prediction');
  const label = {fill: color, 'text-anchor': 'middle', 'font-size': 14};
  add('text', {...label, x: size / 2 - title, y: -9}, prediction);
  add('text', {...label, transform: `translate(-9 ${size / 2 - title}) rotate(-90)`}, translate('truth'));
  for (const [name, value] of [['width', size], ['height', size], ['viewBox', `${-title} ${-title} ${size} ${size}`]]) copy.setAttribute(name, value);
  copy.removeAttribute('style');
  copy.removeAttribute('data-names');
  copy.setAttribute('font-family', 'sans-serif');
  const text = new XMLSerializer().serializeToString(copy);
  const url = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  if (format === 'svg') { download(url, 'confusion_matrix.svg'); return; }
  const image = new Image();
  image.addEventListener('load', () => {
    const canvas = make('canvas');
    canvas.width = canvas.height = size * 3;
    canvas.getContext('2d').drawImage(image, 0, 0, size * 3, size * 3);
    download(canvas.toDataURL('image/png'), 'confusion_matrix.png');
  });
  image.src = url;
}

function download(url, name) {
  const link = make('a');
  link.href = url;
  link.download = name;
  link.click();
}

sorted = {
  label: {name: 'target_probability', up: true}, labels: {name: columnByName.loss ? 'loss' : 'correct', up: !columnByName.loss},
  mask: {name: 'miou', up: true}, picture: {name: 'psnr', up: true},
  numbers: {name: columnByName.loss ? 'loss' : 'name', up: !columnByName.loss},
}[targetKind];
update();
})();
