/**
 * The custom element <session-attachments>, for the HTML of the template
 * session_attachments/attachments.html: files are uploaded as soon as they are chosen,
 * dropped or pasted, and listed as the server has them.
 */

/** @typedef {{name: string, size: number}} Attachment as the server lists it */
/** @typedef {"queued" | "sending" | "storing" | "removing" | "stored" | "failed"} State */

const TAG = "session-attachments";
// Uploads at once in the whole page.
const LANES = 3;
// Bytes: a larger file is sent in pieces, of which a broken line takes one.
const LARGE = 16 * 1024 ** 2;
const PIECE = 8 * 1024 ** 2;
// Milliseconds before what may pass is tried again.
const PAUSES = [1_000, 4_000, 10_000];
// A longer pause that a server asks for is left to the person.
const LONGEST_PAUSE = 60_000;
// Milliseconds without progress in a stalled line.
const STALLED = 10_000;
// Besides 5xx: timeout, locked, too early, too many requests.
const PASSING = [408, 423, 425, 429];
// Codes of the app's errors that no second try can mend.
const FINAL = ["bad_bundle", "bad_name", "file_too_large", "invalid"];
// Of more names the number is said.
const NAMES = 3;
const HISTORY = "sessionAttachments";

/** Why something was not done, for a person. */
class Failure extends Error {
  /**
   * @param {string} sentence
   * @param {{isBroken?: boolean, passes?: boolean, helps?: boolean, pause?: number}} [more]
   *   whether the line broke, it may pass by itself, trying again may help, and after
   *   how many milliseconds
   */
  constructor(sentence, { isBroken = false, passes = isBroken, helps = true, pause = 0 } = {}) {
    super(sentence);
    this.isBroken = isBroken;
    this.passes = passes && pause <= LONGEST_PAUSE;
    this.helps = helps;
    this.pause = pause;
  }
}

/** @param {unknown} error what is no Failure is a mistake of ours */
function failureOf(error) {
  if (error instanceof Failure) return error;
  throw error;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @param {Node[]} children
 */
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/**
 * Order by code point, as the server does.
 * @param {string} a
 * @param {string} b
 */
function compare(a, b) {
  const [one, other] = [a, b].map((text) => Array.from(text, (char) => char.codePointAt(0) ?? 0));
  const index = one.findIndex((point, i) => point !== other[i]);
  return index < 0 ? one.length - other.length : one[index] - (other[index] ?? -1);
}

/**
 * Wait, until the line is back at most.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => resolve();
    setTimeout(done, milliseconds);
    addEventListener("online", done, { once: true });
    signal.addEventListener("abort", done);
  });
}

/** @param {File} file */
function isReadable(file) {
  return file.slice(0, 1).arrayBuffer().then(() => true, () => false);
}

/**
 * Return files, and the names of folders.
 * @param {DataTransfer} data
 */
function contentOf(data) {
  const files = [];
  const folders = [];
  for (const item of data.items) {
    const entry = item.kind === "file" ? item.webkitGetAsEntry() : null;
    const file = item.kind === "file" ? item.getAsFile() : null;
    if (entry?.isDirectory) folders.push(entry.name);
    else if (file) files.push(file);
  }
  return { files, folders };
}

/** A line of the list: an attachment, or what becomes one. */
class Row {
  static count = 0;

  /**
   * @param {SessionAttachments} field
   * @param {string} name
   * @param {string} size as it is shown
   * @param {File?} file what is to be uploaded
   */
  constructor(field, name, size, file = null) {
    this.field = field;
    this.name = name;
    this.file = file;
    /** @type {State} */
    this.state = file ? "queued" : "stored";
    /** @type {Failure?} */
    this.failure = null;
    this.stop = new AbortController();
    this.isUnwanted = false;
    // Of a large file: where it is continued, and how much the server has.
    this.url = "";
    this.offset = 0;
    this.isPerhapsStored = false;
    this.label = make("bdi", { textContent: name });
    this.link = make("a", { title: name }, this.label);
    this.size = make("bdi", { textContent: size, className: "size" });
    this.progress = make("progress", { max: 1, ariaLabel: name });
    this.note = make("span", { id: `${TAG}-${(Row.count += 1)}`, className: "note" });
    this.again = make("button", { type: "button", onclick: () => this.retry() });
    this.away = make("button", { type: "button", onclick: () => this.leave() });
    this.again.setAttribute("aria-describedby", this.note.id);
    this.away.setAttribute("aria-describedby", this.note.id);
    this.li = make("li", {}, this.link, this.size, this.progress, this.again, this.away, this.note);
    this.become(this.state);
  }

  get isBusy() {
    return this.state !== "stored" && this.state !== "failed";
  }

  /** Whether the server has it. */
  get isStored() {
    return this.state === "stored" || this.state === "removing";
  }

  /**
   * @param {State} state
   * @param {string} [note] what to tell beside it
   */
  become(state, note = "") {
    this.state = state;
    this.li.className = state;
    this.note.textContent = note;
    this.progress.hidden = !this.isBusy || state === "removing";
    this.progress.value = 0;
    // Indeterminate.
    if (state === "storing") this.progress.removeAttribute("value");
    this.again.hidden = state !== "failed" || !this.failure?.helps;
    this.call(this.again, "again");
    this.call(this.away, this.isStored ? "remove" : this.isBusy ? "cancel" : "dismiss");
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {string} verb
   */
  call(button, verb) {
    button.textContent = this.field.texts[verb];
    button.ariaLabel = this.field.say(`${verb}-name`, this.name);
  }

  /** @param {Attachment} attachment */
  show({ name, size }) {
    this.name = name;
    this.label.textContent = this.link.title = this.progress.ariaLabel = name;
    this.link.href = this.field.urlOf(name);
    this.size.textContent = this.field.sizeOf(size);
    this.file = this.failure = null;
  }

  async upload() {
    const { texts } = this.field;
    const { signal } = (this.stop = new AbortController());
    for (let tries = 0; ; tries += 1) {
      const { offset } = this;
      try {
        return this.arrive(await this.send(signal));
      } catch (error) {
        if (signal.aborted) return;
        const failure = failureOf(error);
        if (this.isUnwanted) return this.leave();
        if (failure.isBroken && this.file && !(await isReadable(this.file))) {
          return this.fail(new Failure(texts.unreadable, { helps: false }));
        }
        if (this.offset > offset) tries = 0;
        if (!failure.passes || tries === PAUSES.length) return this.fail(failure);
        this.become("queued", texts.retrying);
        await wait(Math.max(PAUSES[tries], failure.pause), signal);
        if (signal.aborted) return;
      }
    }
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Attachment>}
   */
  async send(signal) {
    const { field, name } = this;
    const file = /** @type {File} */ (this.file);
    await field.startSession();
    signal.throwIfAborted();
    this.become("sending");
    if (file.size > LARGE) return this.sendPieces(file, signal);
    const body = new FormData();
    body.append("file", file, name);
    const watch = this.watch(0, file.size);
    const { response } = await field.ask("POST", field.url, { body, signal, watch });
    return response[0];
  }

  /**
   * Send what the server has not yet, by the tus protocol, 1.0.0.
   * @param {File} file
   * @param {AbortSignal} signal
   * @returns {Promise<Attachment>}
   */
  async sendPieces(file, signal) {
    const { field, name } = this;
    const { size } = file;
    if (this.url) await this.locate();
    if (!this.url) {
      const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(name)));
      const headers = { "Upload-Length": size, "Upload-Metadata": `filename ${base64}` };
      const xhr = await field.ask("POST", field.url, { signal, headers });
      this.url = xhr.getResponseHeader("Location") ?? "";
      this.offset = 0;
    }
    while (this.offset < size) {
      const { offset } = this;
      const body = file.slice(offset, offset + PIECE, "application/offset+octet-stream");
      const headers = { "Upload-Offset": offset };
      const watch = this.watch(offset, size);
      const xhr = await field.ask("PATCH", this.url, { body, signal, watch, headers });
      this.offset = Number(xhr.getResponseHeader("Upload-Offset"));
    }
    /** @type {Attachment[]} */
    const list = (await field.ask("GET", field.url)).response;
    const known = field.rows.map((row) => row.name);
    const isNew = list.find((one) => !known.includes(one.name));
    // The server may have changed the name.
    return list.find((one) => one.name === name) ?? isNew ?? { name, size };
  }

  /** Ask where to continue, or begin anew. */
  async locate() {
    try {
      const xhr = await this.field.ask("HEAD", this.url, { headers: {} });
      this.offset = Number(xhr.getResponseHeader("Upload-Offset"));
    } catch (error) {
      if (failureOf(error).passes) throw error;
      this.url = "";
    }
  }

  /**
   * Show the progress of a request that sends a file from an offset on.
   * @param {number} offset
   * @param {number} size
   * @returns {(upload: XMLHttpRequestUpload) => void}
   */
  watch(offset, size) {
    const { field, progress, note } = this;
    return (upload) => {
      /** @type {ReturnType<typeof setTimeout>} */
      let timer;
      upload.onloadstart = upload.onprogress = ({ loaded }) => {
        clearTimeout(timer);
        note.textContent = "";
        progress.value = (offset + loaded) / (size || 1);
        timer = setTimeout(() => (note.textContent = field.texts.stalled), STALLED);
      };
      upload.onload = ({ loaded }) => {
        if (offset + loaded < size) return;
        this.isPerhapsStored = true;
        this.become("storing");
      };
      upload.onloadend = () => clearTimeout(timer);
    };
  }

  /** @param {Attachment} attachment what the file is now */
  arrive(attachment) {
    const { field } = this;
    const old = field.rows.find((row) => row.state === "stored" && row.name === attachment.name);
    if (old?.li.contains(document.activeElement)) this.away.focus();
    old?.drop();
    this.show(attachment);
    this.become("stored", old ? field.texts.replaced : "");
    field.place(this);
    if (this.isUnwanted) this.remove();
    else field.added.push(this.name);
  }

  /** @param {Failure} failure */
  fail(failure) {
    this.failure = failure;
    this.become("failed", failure.message);
    this.field.announce(this.complaint);
  }

  get complaint() {
    const message = this.note.textContent ?? "";
    return message.includes(this.name) ? message : `${this.name}: ${message}`;
  }

  retry() {
    const { field } = this;
    if (this.again === document.activeElement) this.away.focus();
    this.failure = field.refusalOf(this);
    if (this.failure) this.fail(this.failure);
    else field.enqueue([this]);
    field.changed();
  }

  leave() {
    if (this.state === "removing") return;
    if (this.state === "stored") {
      this.remove();
    } else if (this.state === "storing" && !this.isUnwanted) {
      // It may be stored already: it is removed after the answer.
      this.isUnwanted = true;
      this.note.textContent = this.field.texts.cancelling;
    } else {
      this.stop.abort();
      queue.delete(this);
      this.drop();
      if (this.url) this.field.ask("DELETE", this.url, { headers: {} }).catch(failureOf);
      if (this.isPerhapsStored) this.field.refresh().catch(failureOf);
      this.field.changed();
    }
  }

  async remove() {
    const { field, name } = this;
    this.become("removing");
    field.changed();
    try {
      await field.ask("DELETE", field.urlOf(name));
      this.drop();
      field.announce(field.say("removed", name));
      // It may have been the new file of that name.
      field.isStale ||= field.rows.some((row) => row.isBusy || row.name === name);
    } catch (error) {
      this.become("stored", failureOf(error).message);
      field.announce(this.complaint);
    }
    field.changed();
  }

  /** The next row gets the focus. */
  drop() {
    const { field, li } = this;
    if (li.contains(document.activeElement)) {
      const next = li.nextElementSibling?.querySelector("button:not([hidden])") ?? field.input;
      /** @type {HTMLElement} */ (next).focus();
    }
    li.remove();
    field.rows.splice(field.rows.indexOf(this), 1);
  }
}

/** The element. What is in it is looked up at each use: a formset renames its inputs. */
class SessionAttachments extends HTMLElement {
  /** @type {Record<string, string>} */
  texts = {};
  language = "";
  /** @type {Row[]} */
  rows = [];
  /** What is to be announced. @type {string[]} */
  news = [];
  /** Names, for the end of uploads. @type {string[]} */
  added = [];
  status = make("p", { role: "status" });
  isReady = false;
  isRequired = false;
  /** Whether only this page knows the bundle's id. */
  isNew = false;
  isUsed = false;
  isStale = false;
  refreshing = 0;
  description = "";

  get input() {
    return /** @type {HTMLInputElement} */ (this.querySelector("input[type=file]"));
  }

  get bundle() {
    return /** @type {HTMLInputElement} */ (this.querySelector("input[name$='-bundle']"));
  }

  get seen() {
    return /** @type {HTMLInputElement} */ (this.querySelector("input[name$='-seen']"));
  }

  get list() {
    return /** @type {HTMLUListElement} */ (this.querySelector("ul"));
  }

  get url() {
    return this.getAttribute("url") ?? "";
  }

  get isUploading() {
    return this.rows.some((row) => row.isBusy);
  }

  get isBusy() {
    return this.isUploading || this.refreshing > 0;
  }

  /** @returns {Element} where files may be dropped: the fieldset of this element alone */
  get zone() {
    const fieldset = this.closest("fieldset");
    return fieldset?.querySelectorAll(TAG).length === 1 ? fieldset : this;
  }

  connectedCallback() {
    if (this.isReady) fields.add(this);
    else this.start();
  }

  disconnectedCallback() {
    // Unless it is only moved.
    queueMicrotask(() => {
      if (this.isConnected || !fields.delete(this)) return;
      for (const row of this.rows) {
        if (!row.isBusy || row.state === "removing") continue;
        row.stop.abort();
        queue.delete(row);
        row.fail(new Failure(this.texts.unreachable));
      }
      this.changed();
    });
  }

  start() {
    const { input } = this;
    if (!this.url || input.matches(":disabled") || input.name.includes("__prefix__")) return;
    this.isReady = true;
    fields.add(this);
    const template = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
    this.language = template.lang;
    for (const { className, textContent } of template.content.children) {
      this.texts[className] = textContent ?? "";
    }
    this.isRequired = input.required;
    this.description = this.zone.getAttribute("aria-describedby") ?? "";
    for (const link of this.list.querySelectorAll("li > a")) this.adopt(link.parentElement);
    const hint = make("span", { className: "hint", textContent: this.texts.hint });
    input.parentElement?.after(hint);
    this.seen.before(this.status);
    this.toggleAttribute("ready", true);
    input.addEventListener("change", () => this.takeChosen());
    this.identify();
    this.takeChosen();
  }

  /**
   * Put a row in the place of one that the server rendered.
   * @param {HTMLElement?} li
   */
  adopt(li) {
    const [name, size] = Array.from(li?.querySelectorAll("bdi") ?? [], (bdi) => bdi.textContent);
    const row = new Row(this, name ?? "", size ?? "");
    row.link.href = this.urlOf(name);
    this.rows.push(row);
    li?.replaceWith(row.li);
  }

  /** Give the bundle the id that it had before the page was left, or a new one. */
  identify() {
    const { bundle } = this;
    const former = restored[bundle.name];
    this.isNew = this.hasAttribute("new") || !bundle.value;
    this.isUsed = !this.isNew || former !== undefined;
    if (this.isNew && (former || !bundle.value)) {
      delete restored[bundle.name];
      bundle.value = former ?? randomId();
      this.setAttribute("url", this.url.replace(/[^/]+\/$/, `${bundle.value}/`));
    }
    if (this.isUsed && isBack) this.refresh().catch(failureOf);
  }

  takeChosen() {
    const { input } = this;
    const files = [...(input.files ?? [])];
    // They are not sent again with the form.
    input.value = "";
    if (files.length) this.take(files);
  }

  /**
   * Upload files; what cannot be uploaded gets a row, too.
   * @param {File[]} files
   * @param {string[]} [folders] their names
   */
  take(files, folders = []) {
    const rows = [];
    for (const name of folders) this.add(name, null);
    for (const file of files) rows.push(this.add(file.name.normalize("NFC"), file));
    this.enqueue(rows.filter((row) => row.state === "queued"));
    this.changed();
  }

  /**
   * @param {string} name
   * @param {File?} file that of a folder is null
   */
  add(name, file) {
    const row = new Row(this, name, file ? this.sizeOf(file.size) : "", file);
    const failure = this.refusalOf(row);
    this.rows.push(row);
    this.list.append(row.li);
    if (failure) row.fail(failure);
    return row;
  }

  /**
   * Why the server would not take the file of a row.
   * @param {Row} row
   */
  refusalOf({ name, file }) {
    const refuse = (/** @type {string} */ key) => new Failure(this.say(key, name), { helps: false });
    if (!file) return refuse("folder");
    if (file.size > this.limit("max-size")) return refuse("file_too_large");
    if (!fits(file, this.input.accept)) return refuse("invalid");
    const others = this.rows.filter((row) => row.state !== "failed").map((row) => row.name);
    const isTooMany = !others.includes(name) && new Set(others).size >= this.limit("max-files");
    return isTooMany ? new Failure(this.texts.too_many_files) : null;
  }

  /** @param {string} attribute */
  limit(attribute) {
    return Number(this.getAttribute(attribute) || Infinity);
  }

  /** @param {Row[]} rows */
  enqueue(rows) {
    if (!rows.length) return;
    for (const row of rows) {
      row.become("queued");
      queue.add(row);
    }
    this.isUsed = true;
    this.announce(this.say("sending", these(rows.map((row) => row.name))));
    fillLanes();
  }

  /**
   * Put a stored row in its place, before what is not stored.
   * @param {Row} row
   */
  place(row) {
    const focused = row.li.contains(document.activeElement) ? document.activeElement : null;
    const others = this.rows.filter((other) => other !== row);
    const index = others.findIndex((other) => !other.isStored || compare(other.name, row.name) > 0);
    this.list.insertBefore(row.li, others[index]?.li ?? null);
    others.splice(index < 0 ? others.length : index, 0, row);
    this.rows = others;
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  }

  /** Read the list once a page, so that its uploads share a session. */
  startSession() {
    const reading = (session ??= this.refresh());
    reading.catch(() => {
      if (session === reading) session = undefined;
    });
    return reading;
  }

  /** Show what the server lists. */
  async refresh() {
    const before = this.rows.filter((row) => row.state === "stored");
    this.refreshing += 1;
    this.changed();
    try {
      /** @type {Attachment[]} */
      const attachments = (await this.ask("GET", this.url)).response;
      const names = new Set(attachments.map(({ name }) => name));
      for (const row of before) {
        if (row.state === "stored" && !names.has(row.name)) row.drop();
      }
      for (const attachment of attachments) {
        const known = this.rows.find((row) => row.isStored && row.name === attachment.name);
        const row = known ?? new Row(this, attachment.name, "");
        row.show(attachment);
        this.place(row);
      }
    } finally {
      this.refreshing -= 1;
      this.changed();
    }
  }

  /**
   * Return what the server answers: a list, or headers to what speaks tus; else raise
   * a Failure.
   * @param {string} method
   * @param {string} url
   * @param {{body?: FormData | Blob, signal?: AbortSignal, headers?: Record<string, any>,
   *   watch?: (upload: XMLHttpRequestUpload) => void}} [more] only tus has headers;
   *   "watch" gets what tells the progress
   * @returns {Promise<XMLHttpRequest>}
   */
  ask(method, url, { body, signal, headers, watch } = {}) {
    return new Promise((resolve, reject) => {
      const xhr = new XMLHttpRequest();
      xhr.open(method, url);
      xhr.responseType = "json";
      if (method !== "GET") xhr.setRequestHeader("X-CSRFToken", tokenOf(this.input.form));
      if (headers) xhr.setRequestHeader("Tus-Resumable", "1.0.0");
      for (const name in headers) xhr.setRequestHeader(name, headers[name]);
      watch?.(xhr.upload);
      signal?.addEventListener("abort", () => xhr.abort());
      xhr.onloadend = () => {
        const { status, response } = xhr;
        const isAnswer = headers ? xhr.getResponseHeader("Tus-Resumable") : Array.isArray(response);
        if (status && status < 300 && isAnswer) resolve(xhr);
        else reject(this.whyNot(xhr, Boolean(headers)));
      };
      xhr.send(body);
    });
  }

  /**
   * Return why a request was not answered so.
   * @param {XMLHttpRequest} xhr
   * @param {boolean} isTus
   */
  whyNot(xhr, isTus) {
    const { status, response } = xhr;
    if (!status) return new Failure(this.texts.unreachable, { isBroken: true });
    const code = response?.code;
    // Cut short, or to be located again.
    const isJSON = /json/.test(xhr.getResponseHeader("Content-Type") ?? "");
    const isMoved = isTus && status === 409 && code !== "protected";
    const isLost = isMoved || (isJSON && (status < 300 || code === "not_found"));
    const passes = status >= 500 || PASSING.includes(status) || isLost;
    // Seconds or a date: RFC 9110, section 10.2.3.
    const after = xhr.getResponseHeader("Retry-After") ?? "";
    const pause = Number(after) * 1000 || Date.parse(after) - Date.now() || 0;
    const sentence = response?.detail ?? this.texts.unexpected.replace("{status}", String(status));
    return new Failure(sentence, { passes, pause, helps: !FINAL.includes(code) });
  }

  /** Tell all what is so now. */
  changed() {
    if (this.isStale && !this.isBusy) {
      this.isStale = false;
      this.refresh().catch(failureOf);
    }
    const { isBusy, input, rows } = this;
    const names = rows.filter((row) => row.isStored).map((row) => row.name);
    this.seen.value = String(names.length);
    input.required = this.isRequired && !rows.length;
    this.toggleAttribute("busy", isBusy);
    this.describe();
    if (!isBusy && this.added.length) this.announce(this.say("added", these(this.added.splice(0))));
    const detail = { count: names.length, names, busy: isBusy };
    this.dispatchEvent(new CustomEvent(`${TAG}:change`, { bubbles: true, detail }));
    remember();
    guard();
    release();
  }

  describe() {
    const failed = this.rows.filter((row) => row.state === "failed");
    const ids = [this.description, ...failed.map((row) => row.note.id)].filter(Boolean).join(" ");
    if (ids) this.zone.setAttribute("aria-describedby", ids);
    else this.zone.removeAttribute("aria-describedby");
  }

  /** @param {string} text to be heard, with what else comes at that time */
  announce(text) {
    if (!this.news.length) {
      queueMicrotask(() => (this.status.textContent = this.news.splice(0).join(" ")));
    }
    this.news.push(text);
  }

  /**
   * @param {string} key
   * @param {string} name
   */
  say(key, name) {
    return this.texts[key].replace("{name}", () => name);
  }

  /** @param {string} name */
  urlOf(name) {
    return `${this.url}${encodeURIComponent(name)}/`;
  }

  /**
   * Write a size as Django's filesizeformat does.
   * @param {number} bytes
   */
  sizeOf(bytes) {
    const power = Math.min(Math.floor(Math.log2(bytes || 1) / 10), 3);
    if (!power) {
      const style = /** @type {const} */ ({ style: "unit", unit: "byte", unitDisplay: "long" });
      return bytes.toLocaleString(this.language, style);
    }
    const number = (bytes / 1024 ** power).toFixed(1);
    // Like "1.0 KB", in the page's language.
    const one = this.texts[["KB", "MB", "GB"][power - 1]];
    return one.replace(/1(.)0/, (_one, point) => number.replace(".", point));
  }
}

/**
 * Whether an input accepts a file. The server may know a type where the browser does not.
 * @param {File} file
 * @param {string} accept
 */
function fits({ name, type }, accept) {
  const entries = accept.toLowerCase().split(",").map((entry) => entry.trim());
  return !accept || entries.some((entry) => {
    if (entry.startsWith(".")) return name.toLowerCase().endsWith(entry);
    return !type || (entry.includes("*") ? type.startsWith(entry.split("*")[0]) : type === entry);
  });
}

/** @param {string[]} names */
function these(names) {
  return names.length > NAMES ? String(names.length) : names.join(", ");
}

/** Return 128 bits. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The CSRF token of the form, of the page or of the cookie.
 * @param {HTMLFormElement?} form
 */
function tokenOf(form) {
  const selector = "input[name=csrfmiddlewaretoken]";
  const input = form?.querySelector(selector) ?? document.querySelector(selector);
  const [, cookie] = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie) ?? [];
  return /** @type {HTMLInputElement?} */ (input)?.value ?? cookie ?? "";
}

/** @type {Set<SessionAttachments>} */
const fields = new Set();
/** @type {Set<Row>} */
const queue = new Set();
/** @type {Set<Row>} */
const running = new Set();
/** Forms to be sent after their uploads, and the buttons that were pressed.
 * @type {Map<HTMLFormElement, HTMLButtonElement?>} */
const waiting = new Map();
/** The list, read before the first upload. @type {Promise<void> | undefined} */
let session;
/** The ids in the history when the page was loaded. @type {Record<string, string>} */
const restored = { ...history.state?.[HISTORY] };
let remembered = "{}";
const [navigation] = performance.getEntriesByType("navigation");
const isBack = ["reload", "back_forward"].includes(
  /** @type {PerformanceNavigationTiming} */ (navigation)?.type,
);

/** Start uploads; two of one name come one after the other. */
function fillLanes() {
  for (const row of queue) {
    if (running.size === LANES) return;
    if ([...running].some(({ field, name }) => field === row.field && name === row.name)) continue;
    queue.delete(row);
    running.add(row);
    row.upload().finally(() => {
      running.delete(row);
      fillLanes();
      row.field.changed();
    });
  }
}

/** Keep the ids of new bundles for a reload. */
function remember() {
  const used = [...fields].filter((field) => field.isNew && field.isUsed);
  const ids = Object.fromEntries(used.map(({ bundle }) => [bundle.name, bundle.value]));
  const text = JSON.stringify(ids);
  // Browsers allow few changes a minute.
  if (text === remembered) return;
  remembered = text;
  history.replaceState({ ...history.state, [HISTORY]: { ...restored, ...ids } }, "");
}

function guard() {
  const isUploading = [...fields].some((field) => field.isUploading);
  (isUploading ? addEventListener : removeEventListener)("beforeunload", askToStay);
}

/** @param {Event} event */
function askToStay(event) {
  event.preventDefault();
}

/** @param {HTMLFormElement} form */
function fieldsOf(form) {
  return [...fields].filter((field) => field.input.form === form);
}

/**
 * Lead to the first failure in the form; return whether there is one.
 * @param {HTMLFormElement} form
 */
function leadToFailure(form) {
  const rows = fieldsOf(form).flatMap((field) => field.rows);
  const failed = rows.find((row) => row.state === "failed");
  if (!failed) return false;
  const { again, away, field } = failed;
  (again.hidden ? away : again).focus();
  field.announce(field.texts.held);
  return true;
}

/** Send the forms whose uploads have ended. */
function release() {
  for (const [form, button] of waiting) {
    if (fieldsOf(form).some((field) => field.isBusy)) continue;
    waiting.delete(form);
    // It may be gone.
    form.requestSubmit(button?.form === form ? button : null);
  }
}

/** @param {DragEvent} event */
function isOurs({ dataTransfer, defaultPrevented, target }) {
  const isInput = target instanceof HTMLInputElement && target.type === "file";
  const isElsewhere = defaultPrevented || (isInput && !fieldAt(target));
  return fields.size && dataTransfer?.types.includes("Files") && !isElsewhere;
}

/** @param {EventTarget?} target */
function fieldAt(target) {
  const node = /** @type {Node?} */ (target);
  return [...fields].find(({ zone, input }) => zone.contains(node) && !input.matches(":disabled"));
}

/** @param {SessionAttachments} [target] */
function mark(target) {
  for (const field of fields) field.toggleAttribute("dragging", field === target);
}

// Before the project's own listeners: none may send the form without its files.
document.addEventListener(
  "submit",
  (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const busy = fieldsOf(form).find((field) => field.isBusy);
    if (!busy && !leadToFailure(form)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!busy) return;
    waiting.set(form, /** @type {HTMLButtonElement?} */ (event.submitter));
    busy.announce(busy.texts.waiting);
  },
  true,
);

document.addEventListener("dragover", (event) => {
  if (!isOurs(event)) return;
  // Else the browser would leave the page for the file.
  event.preventDefault();
  const field = fieldAt(event.target);
  mark(field);
  if (event.dataTransfer) event.dataTransfer.dropEffect = field ? "copy" : "none";
});

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) mark();
});

document.addEventListener("drop", (event) => {
  mark();
  if (!isOurs(event)) return;
  event.preventDefault();
  const { files, folders } = contentOf(/** @type {DataTransfer} */ (event.dataTransfer));
  fieldAt(event.target)?.take(files, folders);
});

document.addEventListener("paste", (event) => {
  const data = event.clipboardData;
  if (!data || event.defaultPrevented || data.types.includes("text/plain")) return;
  const { files, folders } = contentOf(data);
  const { target } = event;
  const around = (target instanceof Element && target.closest("form")) || document;
  const nearby = [...fields].filter((field) => around.contains(field));
  const field = fieldAt(target) ?? (nearby.length === 1 ? nearby[0] : undefined);
  if (!field || files.length + folders.length === 0) return;
  event.preventDefault();
  const names = field.rows.map((row) => row.name);
  field.take(
    files.map((file) => {
      const name = newName(file.name, names);
      names.push(name);
      return name === file.name ? file : new File([file], name, { type: file.type });
    }),
    folders,
  );
});

/**
 * Name a pasted picture, which is always called "image.png".
 * @param {string} name
 * @param {string[]} taken
 */
function newName(name, taken) {
  const [, extension] = /^image(\.\w+)$/.exec(name) ?? [];
  let free = name;
  for (let number = 2; extension && taken.includes(free); number += 1) {
    free = `image (${number})${extension}`;
  }
  return free;
}

addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  for (const field of fields) {
    if (field.isUsed) field.refresh().catch(failureOf);
  }
});

addEventListener("online", () => {
  for (const field of fields) {
    for (const row of field.rows) if (row.failure?.isBroken) row.retry();
  }
});

if (!customElements.get(TAG)) customElements.define(TAG, SessionAttachments);
