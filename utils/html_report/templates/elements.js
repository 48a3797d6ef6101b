// Texts of utils/base/language.py: in Chinese where the page is.
const TEXTS = {{ catalogue() | tojson }};
const translate = (text, values = {}) => (TEXTS[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
const plural = (count, one, many) => count === 1 && !(many in TEXTS) ? one : many;
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
