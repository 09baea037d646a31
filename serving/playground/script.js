"use strict";
const $ = (id) => document.getElementById(id);
const KINDS = {
  image: (uri) => ({type: "image_url", image_url: {url: uri}}),
  audio: (uri) => ({type: "input_audio", input_audio: {data: uri.split(",")[1], format: soundFormat(uri)}}),
  video: (uri) => ({type: "video_url", video_url: {url: uri}}),
  application: (uri) => ({type: "file", file: {file_data: uri}}),
};
const state = {items: [], model: null, dimension: 0, gallery: null, next: 1};

function soundFormat(uri) {
  const kind = uri.slice(5, uri.indexOf(";"));
  return ({"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav", "audio/x-flac": "flac"})[kind] || kind.split("/")[1];
}

async function ask(path, body) {
  const headers = {"Content-Type": "application/json"};
  if ($("key").value) headers.Authorization = "Bearer " + $("key").value;
  const answer = await fetch(path, body ? {method: "POST", headers, body: JSON.stringify(body)} : {headers});
  if (answer.status === 401) $("keybox").hidden = false;
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error ? value.error.message : "status " + answer.status);
  return {value, headers: answer.headers};
}

function element(tag, text, options = {}) {
  const made = Object.assign(document.createElement(tag), options);
  if (text !== undefined) made.textContent = text;
  return made;
}

function player(kind, uri, label) {
  if (kind === "image") return element("img", undefined, {src: uri, alt: label});
  if (kind === "audio") return element("audio", undefined, {src: uri, controls: true});
  if (kind === "video") return element("video", undefined, {src: uri, controls: true, muted: true, loop: true, preload: "auto"});
  return element("span", label);
}

// Items: each is a list of parts, of which the text comes first.
function addItem(text = "") {
  const item = {id: state.next++, text, files: [], task: "", vector: null, answer: null};
  const node = $("item-template").content.firstElementChild.cloneNode(true);
  item.node = node;
  node.querySelector("h3").textContent = "Item " + item.id;
  const area = node.querySelector("textarea");
  area.value = text;
  area.addEventListener("input", () => { item.text = area.value; changed(item); });
  node.querySelector(".remove").addEventListener("click", () => removeItem(item));
  node.querySelector("input").addEventListener("change", (event) => { addFiles(item, event.target.files); event.target.value = ""; });
  node.addEventListener("dragover", (event) => { event.preventDefault(); node.classList.add("over"); });
  node.addEventListener("dragleave", () => node.classList.remove("over"));
  node.addEventListener("drop", (event) => {
    event.preventDefault();
    node.classList.remove("over");
    addFiles(item, event.dataTransfer.files);
    const dropped = event.dataTransfer.getData("text/plain");
    if (dropped && !event.dataTransfer.files.length) { area.value = item.text = dropped; changed(item); }
  });
  node.addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); addFiles(item, event.clipboardData.files); } });
  const task = node.querySelector(".task");
  fillTasks(task);
  task.addEventListener("change", () => { item.task = task.value; changed(item); });
  state.items.push(item);
  $("items").append(node);
  refresh();
  return item;
}

function removeItem(item) {
  state.items = state.items.filter((other) => other !== item);
  item.node.remove();
  refresh();
  (state.items.length ? state.items[state.items.length - 1].node.querySelector("textarea") : $("add")).focus();
}

function fillTasks(select) {
  select.replaceChildren(...["", ...(state.model ? state.model.tasks : [])].map((name) => element("option", name || "none", {value: name})));
}

function addFiles(item, files) {
  for (const file of files) {
    const reader = new FileReader();
    reader.onload = () => { item.files.push({name: file.name, uri: reader.result}); drawParts(item); changed(item); };
    reader.readAsDataURL(file);
  }
}

function drawParts(item) {
  const list = item.node.querySelector(".parts");
  list.replaceChildren(...item.files.map((file) => {
    const line = element("li");
    const kind = file.uri.slice(5).split("/")[0];
    const drop = element("button", "Remove " + file.name, {type: "button"});
    drop.addEventListener("click", () => { item.files = item.files.filter((other) => other !== file); drawParts(item); changed(item); });
    line.append(player(kind, file.uri, file.name), drop);
    return line;
  }));
}

function changed(item) { item.vector = item.answer = null; item.node.querySelector(".cost").textContent = ""; refresh(); }

function contentOf(item) {
  const parts = item.text.trim() ? [{type: "text", text: item.text}] : [];
  for (const file of item.files) {
    const make = KINDS[file.uri.slice(5).split("/")[0]];
    if (!make) throw new Error(file.name + ": this kind of file cannot be embedded");
    parts.push(make(file.uri));
  }
  return parts;
}

function bodyOf(item) {
  const parts = contentOf(item);
  const only = parts.length === 1 && parts[0].type === "text";
  const body = {model: state.model ? state.model.id : "omnivec", input: only ? parts[0].text : {content: parts}};
  if (item.task) body.task = item.task;
  return body;
}

async function embedAll() {
  $("said").textContent = "";
  $("embed").disabled = true;
  const waiting = state.items.filter((item) => !item.vector && (item.text.trim() || item.files.length));
  await Promise.all(waiting.map(async (item) => {
    const started = performance.now();
    try {
      const {value, headers} = await ask("/v1/embeddings", bodyOf(item));
      item.vector = value.data[0].embedding;
      item.answer = {value, space: headers.get("x-omnivec-vector-space"), version: headers.get("x-omnivec-version")};
      item.node.querySelector(".cost").textContent =
        value.usage.total_tokens + " tokens, " + Math.round(performance.now() - started) + " ms there and back";
    } catch (error) {
      $("said").textContent += "Item " + item.id + ": " + error.message + " ";
    }
  }));
  $("embed").disabled = false;
  refresh();
}

// Vectors: shortening is cutting and normalising again, so the slider needs no further request.
function shortened(vector) {
  const head = vector.slice(0, state.dimension || vector.length);
  const norm = Math.hypot(...head) || 1;
  return head.map((value) => value / norm);
}

const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
const nameOf = (item) => (item.text.trim().slice(0, 24) || (item.files[0] ? item.files[0].name : "")) || "empty";

function drawMatrix() {
  const ready = state.items.filter((item) => item.vector);
  $("matrix-hint").hidden = ready.length > 1;
  const vectors = ready.map((item) => shortened(item.vector));
  const head = element("tr");
  head.append(element("td"), ...ready.map((item) => element("th", item.id + " " + nameOf(item), {scope: "col"})));
  const rows = ready.map((item, i) => {
    const row = element("tr");
    row.append(element("th", item.id + " " + nameOf(item), {scope: "row"}), ...ready.map((_, j) => {
      const value = dot(vectors[i], vectors[j]);
      const cell = element("td", value.toFixed(3));
      cell.style.background = "hsl(212 80% " + (94 - 44 * Math.max(0, Math.min(1, value))) + "%)";
      return cell;
    }));
    return row;
  });
  $("matrix").replaceChildren(...(ready.length ? [head, ...rows] : []));
}

function drawNearest() {
  const item = state.items.find((one) => String(one.id) === $("of").value && one.vector);
  if (!state.gallery || !item) { $("nearest").replaceChildren(); return; }
  if (item.answer.space !== state.gallery.vector_space) {
    $("gallery-hint").textContent = "The gallery was made by another model; load the page again.";
    $("nearest").replaceChildren();
    return;
  }
  const mine = shortened(item.vector);
  const kind = $("kind").value;
  const best = state.gallery.items.filter((one) => !kind || one.kind === kind)
    .map((one) => [dot(mine, shortened(one.vector)), one]).sort((a, b) => b[0] - a[0]).slice(0, 12);
  $("nearest").replaceChildren(...best.map(([score, one]) => {
    const line = element("li");
    if (one.uri) line.append(player(one.kind, one.uri, one.label));
    line.append(element("div", one.label), element("strong", score.toFixed(3)), document.createTextNode(" " + one.kind));
    return line;
  }));
}

function drawCall() {
  const item = state.items.find((one) => String(one.id) === $("call-of").value);
  if (!item) { $("call").textContent = $("answer").textContent = ""; return; }
  let body;
  try { body = bodyOf(item); } catch (error) { $("call").textContent = error.message; return; }
  if (state.dimension && state.model && state.dimension !== state.model.dimensions[0]) body.dimensions = state.dimension;
  const text = JSON.stringify(body, (_, value) => typeof value === "string" && value.length > 200 ? value.slice(0, 48) + "..." : value, 2);
  const key = $("key").value ? "$OMNIVEC_KEY" : "";
  $("call").textContent = $("language").value === "curl"
    ? "curl -s " + location.origin + "/v1/embeddings \\\n  -H 'Content-Type: application/json' \\\n" + (key ? "  -H \"Authorization: Bearer " + key + "\" \\\n" : "") + "  -d '" + text.replaceAll("'", "'\\''") + "'"
    : "import openai\n\nclient = openai.OpenAI(base_url=\"" + location.origin + "/v1\", api_key=" + (key ? "os.environ[\"OMNIVEC_KEY\"]" : "\"unused\"") + ")\nbody = " + python(JSON.parse(text)) + "\nanswer = client.embeddings.create(model=body.pop(\"model\"), input=[], encoding_format=\"float\", extra_body=body)\nprint(answer.data[0].embedding)";
  $("answer").textContent = item.answer
    ? JSON.stringify({...item.answer.value, data: [{...item.answer.value.data[0], embedding: item.vector.slice(0, 4).map((v) => Number(v.toFixed(5))).concat(["... " + item.vector.length + " numbers"])}]}, null, 1)
    : "";
}

function python(value, pad = "") {
  if (Array.isArray(value)) return "[" + value.map((one) => python(one, pad)).join(", ") + "]";
  if (value && typeof value === "object") return "{" + Object.entries(value).map(([name, one]) => JSON.stringify(name) + ": " + python(one, pad)).join(", ") + "}";
  return JSON.stringify(value);
}

function fillItems(select) {
  const before = select.value;
  select.replaceChildren(...state.items.map((item) => element("option", item.id + " " + nameOf(item), {value: String(item.id)})));
  if (state.items.some((item) => String(item.id) === before)) select.value = before;
}

function refresh() {
  fillItems($("of"));
  fillItems($("call-of"));
  drawMatrix();
  drawNearest();
  drawCall();
}

async function loadModel() {
  const {value, headers} = await ask("/v1/models");
  state.model = value.data[0];
  const m = state.model;
  $("model").textContent = m.id + " version " + m.version + ", " + m.backend + ", embeds " + m.modalities.join(", ") + "; vector space " + headers.get("x-omnivec-vector-space");
  const sizes = [...m.dimensions].sort((a, b) => a - b);
  const slider = $("dimension");
  slider.max = String(sizes.length - 1);
  slider.value = slider.max;
  const set = () => { state.dimension = sizes[Number(slider.value)]; $("dimension-value").textContent = state.dimension; slider.setAttribute("aria-valuetext", state.dimension + " dimensions"); refresh(); };
  slider.addEventListener("input", set);
  set();
  document.querySelectorAll(".item .task").forEach(fillTasks);
}

async function loadGallery() {
  const {value} = await ask("/gallery.json");
  state.gallery = value;
  $("nearest-section").hidden = false;
  $("gallery-hint").textContent = value.items.length + " items of the corpus " + value.corpus + " that no training step has seen.";
  const kinds = [...new Set(value.items.map((one) => one.kind))].sort();
  $("kind").append(...kinds.map((kind) => element("option", kind, {value: kind})));
  drawNearest();
}

async function start() {
  try { await loadModel(); } catch (error) { $("model").textContent = error.message; return; }
  try { await loadGallery(); } catch (error) { $("nearest-section").hidden = true; }
}

$("add").addEventListener("click", () => addItem().node.querySelector("textarea").focus());
$("embed").addEventListener("click", embedAll);
$("copy").addEventListener("click", () => navigator.clipboard.writeText($("call").textContent));
$("key").addEventListener("change", start);
for (const id of ["of", "kind"]) $(id).addEventListener("change", drawNearest);
for (const id of ["call-of", "language"]) $(id).addEventListener("change", drawCall);
document.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); embedAll(); } });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => event.preventDefault());
addItem("a red fox");
addItem("ein roter Fuchs");
start();
