'use strict';
(() => {
{% include 'elements.js' %}
const samples = JSON.parse(byId('data').textContent);
const gallery = byId('gallery'), form = byId('controls'), cards = [...gallery.children];
let shown = [], open = null;

const keys = new Set(samples.flatMap((sample) => Object.keys(sample.numbers)));
for (const key of keys) form.elements.key.append(new Option(key, key));
const groups = [...new Set(samples.flatMap((sample) => sample.groups))].sort((a, b) => a.localeCompare(b, undefined, {numeric: true}));
for (const group of groups) form.elements.group.append(new Option(group, group));
if (!groups.length) form.elements.group.closest('label').remove();

// Samples without the number come last in both directions.
function ordered(a, b, key, down) {
  const sign = down ? -1 : 1;
  if (!key) return sign * samples[a].name.localeCompare(samples[b].name, undefined, {numeric: true}) || a - b;
  const [x, y] = [samples[a].numbers[key], samples[b].numbers[key]].map((value) => value ?? null);
  if (x === null || y === null) return (x === null) - (y === null);
  return sign * (x - y) || a - b;
}

function update() {
  const wanted = Object.fromEntries(new FormData(form)), text = wanted.text.trim().toLowerCase();
  shown = samples.map((_, index) => index).filter((index) =>
    (!text || cards[index].textContent.toLowerCase().includes(text)) &&
    (!wanted.group || samples[index].groups.includes(wanted.group)));
  shown.sort((a, b) => ordered(a, b, wanted.key, wanted.down));
  gallery.replaceChildren(...shown.map((index) => cards[index]));
  byId('count').textContent = translate(plural(samples.length, '{found} of {count} sample.', '{found} of {count} samples.'), {found: shown.length, count: samples.length});
}

// A copy must not have the ids that other layers refer to.
function copied(element) {
  const copy = element.cloneNode(true);
  for (const part of copy.querySelectorAll('[id]')) part.removeAttribute('id');
  return copy;
}

function show(index) {
  open = index;
  const sample = samples[index], panes = cards[index].querySelector('.panes'), table = document.createElement('table');
  byId('large-name').textContent = sample.name;
  byId('large-picture').replaceChildren(...(panes ? [copied(panes)] : []));
  table.className = 'facts';
  const rows = [[translate('prediction'), cards[index].querySelector('.prediction').textContent],
                ...Object.entries(sample.numbers).map(([name, value]) => [name, numberText(value)])];
  for (const [name, value] of rows) {
    const line = table.insertRow(), head = document.createElement('th');
    head.textContent = name;
    line.append(head);
    line.insertCell().textContent = value;
  }
  byId('large-facts').replaceChildren(table);
  const position = shown.indexOf(index);
  byId('previous').disabled = position <= 0;
  byId('following').disabled = position >= shown.length - 1;
  if (!byId('large').open) byId('large').showModal();
}

function step(by) {
  const index = shown[shown.indexOf(open) + by];
  if (index !== undefined) show(index);
}

form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('input', update);
form.addEventListener('reset', () => setTimeout(update));
gallery.addEventListener('click', (event) => {
  const card = event.target.closest('.card');
  if (card) show(Number(card.dataset.card));
});
document.addEventListener('keydown', (event) => {
  if (byId('large').open) {
    if (event.key === 'ArrowLeft') step(-1);
    if (event.key === 'ArrowRight') step(1);
  } else if ((event.key === 'Enter' || event.key === ' ') && event.target.matches('.card')) {
    event.preventDefault();
    show(Number(event.target.dataset.card));
  }
});
byId('previous').addEventListener('click', () => step(-1));
byId('following').addEventListener('click', () => step(1));
byId('close').addEventListener('click', () => byId('large').close());
byId('large').addEventListener('click', (event) => { if (event.target === byId('large')) byId('large').close(); });
const slider = byId('alpha');
if (slider) slider.addEventListener('input', () => document.documentElement.style.setProperty('--alpha', slider.value));

for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => head.addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') === 'descending';
    heads.forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = (row) => row.cells[index].dataset.sort === undefined ? row.cells[index].textContent : Number(row.cells[index].dataset.sort);
    const compare = (a, b) => typeof a === 'number' ? a - b : a.localeCompare(b, undefined, {numeric: true});
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b))));
  }));
}
update();
})();
