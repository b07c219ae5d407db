// What is being written: messages with their pictures, kept in this tab's sessionStorage and nowhere else.
import { say } from "./words.js";

const STORE = "tokia.playground";
const IMAGE_BYTES_MAX = 4 * 1024 * 1024;
export const IMAGES_MAX = 6;

export class Draft {
  #list;
  #template;
  #imageTemplate;
  #changed;

  constructor(list, { template, imageTemplate, onImage, onChange }) {
    this.#list = list;
    this.#template = template;
    this.#imageTemplate = imageTemplate;
    this.#changed = onChange;
    list.addEventListener("input", onChange);
    list.addEventListener("change", () => { this.#arrange(); onChange(); });
    list.addEventListener("click", (event) => {
      const row = event.target.closest("li[data-row]");
      if (event.target.closest("[data-remove]")) this.#remove(row);
      if (event.target.closest("[data-add-image]")) onImage(row);
    });
  }

  add({ role = "user", text = "", images = [] } = {}) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    row.dataset.row = "";
    row.querySelector("[data-role]").value = role;
    row.querySelector("[data-text]").value = text;
    row.images = [];
    this.#list.append(row);
    for (const image of images) this.addImage(row, image);
    this.#arrange();
    return row;
  }

  #remove(row) {
    row.remove();
    if (!this.#list.children.length) this.add();
    this.#list.querySelector("[data-text]")?.focus();
    this.#arrange();
    this.#changed();
  }

  #arrange() {
    for (const row of this.#list.children) row.querySelector("[data-add-image]").hidden = row.querySelector("[data-role]").value !== "user";
  }

  addImage(row, url) {
    const item = this.#imageTemplate.content.firstElementChild.cloneNode(true);
    const picture = item.querySelector("img");
    if (url.startsWith("data:")) { // a picture of the web is not fetched by us: only the provider sees it
      picture.src = url;
      picture.hidden = false;
    }
    item.querySelector("[data-name]").textContent = url.startsWith("data:") ? say("local") : url;
    item.querySelector("button").addEventListener("click", () => { row.images = row.images.filter((other) => other !== url); item.remove(); this.#changed(); });
    row.images.push(url);
    row.querySelector("[data-images]").append(item);
  }

  read() {
    return [...this.#list.children].map((row) => ({ role: row.querySelector("[data-role]").value, text: row.querySelector("[data-text]").value, images: row.images }));
  }

  get imageCount() { return this.read().reduce((sum, message) => sum + message.images.length, 0); }

  replace(messages) {
    this.#list.replaceChildren();
    for (const message of messages.length ? messages : [{}]) this.add(message);
  }

  // As the API takes them; what is empty is left out.
  messages() {
    return this.read().filter(({ text, images }) => text.trim() || images.length).map(({ role, text, images }) => ({
      role,
      content: role === "user" && images.length ? [...(text.trim() ? [{ type: "text", text }] : []), ...images.map((url) => ({ type: "image_url", image_url: { url } }))] : text,
    }));
  }
}

export function readFile(file) {
  return new Promise((resolve, reject) => {
    if (!/^image\/(png|jpeg|webp|gif)$/.test(file.type)) reject(new Error(say("kind")));
    else if (file.size > IMAGE_BYTES_MAX) reject(new Error(say("large")));
    else {
      const reader = new FileReader();
      reader.addEventListener("load", () => resolve(reader.result));
      reader.addEventListener("error", () => reject(new Error(say("unread"))));
      reader.readAsDataURL(file);
    }
  });
}

export const store = {
  load() { try { return JSON.parse(sessionStorage.getItem(STORE) ?? "null"); } catch { return null; } },
  save(state) {
    try { sessionStorage.setItem(STORE, JSON.stringify(state)); } catch { // pictures may not fit; the text does
      try { sessionStorage.setItem(STORE, JSON.stringify({ ...state, messages: state.messages.map((message) => ({ ...message, images: [] })) })); } catch { /* not kept */ }
    }
  },
  clear() { try { sessionStorage.removeItem(STORE); } catch { /* nothing was kept */ } },
};
