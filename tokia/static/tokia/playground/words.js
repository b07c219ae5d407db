// The page's words in its language. The template holds them, so that they are translated where all others are.
const held = document.getElementById("palavras");
export const language = document.documentElement.lang;
export const isEnglish = language.startsWith("en");

// `{name}` in a text stands for `values.name`.
export function say(name, values = {}) {
  return (held?.dataset[name] ?? "").replace(/\{(\w+)\}/g, (marker, key) => values[key] ?? marker);
}
