// Texts of utils/base/language.py: in Chinese where the page is.
const TEXTS = {{ catalogue() | tojson }};
const translate = (text, values = {}) => (TEXTS[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
const plural = (count, one, many) => count === 1 && !(many in TEXTS) ? one : many;
// A number as people read it, with four significant digits: number_text of utils/base/text_table.py in JavaScript.
const numberText = (value, trimmed = false) => {
  if (!Number.isFinite(value)) return String(value);
  let [digits, exponent] = value.toExponential(3).split('e');
  const [exact] = value.toExponential(60).split('e');
  if (/^[02468]50*$/.test(exact.slice(exact.indexOf('.') + 3))) digits = exact.slice(0, exact.indexOf('.') + 4);  // to even
  exponent = Number(exponent);
  const fixed = exponent >= -4 && exponent < 4;
  if (fixed) digits = Number(`${digits}e${exponent}`).toFixed(3 - exponent);
  if (trimmed && digits.includes('.')) digits = digits.replace(/\.?0+$/, '');
  return fixed ? digits : `${digits}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
};
const byId = (id) => document.getElementById(id);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

// Heads of columns are spans with the role of a button: browsers do not print buttons in the repeated heads of a table.
function onActivate(element, action) {
  element.addEventListener('click', action);
  element.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    action();
  });
}

function headButton(text, action) {
  const button = make('span', text);
  button.setAttribute('role', 'button');
  button.tabIndex = 0;
  onActivate(button, action);
  return button;
}
