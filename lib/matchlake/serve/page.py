"""The page at /: a user's list, the items similar to one, or the score of a row."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>matchlake serve</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
* { box-sizing: border-box }
[hidden] { display: none !important }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
h1 { overflow-wrap: anywhere }
label { display: block; margin-top: 1rem }
input { display: block; font: inherit; padding: .2rem .4rem; width: 20rem; max-width: 100% }
textarea { display: block; font: .9rem monospace; padding: .2rem .4rem; width: 100% }
button { font: inherit; padding: .2rem 1rem; margin-top: .4rem }
table { border-collapse: collapse; margin-top: 1rem; min-width: min(20rem, 100%) }
caption { text-align: left; overflow-wrap: anywhere }
td, th { border-bottom: 1px solid #ccc; padding: .2rem 2rem .2rem 0; text-align: left }
td { overflow-wrap: anywhere }
td + td, th + th { padding-right: 0; text-align: right; font-variant-numeric: tabular-nums }
#problem { color: #a00; overflow-wrap: anywhere }
pre { background: #f4f4f4; padding: .5rem; overflow: auto }
</style>
<main>
<h1 id="title">matchlake serve</h1>
<form id="secret" hidden><label>Token <input name="token" type="password" required
autocomplete="off"></label><button>Use</button></form>
<form id="user" hidden><label>Items for the user <input name="user" required></label>
<button>Recommend</button></form>
<form id="item" hidden><label>Items similar to <input name="item" required></label>
<button>Find</button></form>
<form id="rows" hidden><label>A row as JSON
<textarea name="row" rows="10" spellcheck="false"></textarea></label><button>Score</button></form>
<p id="problem" role="alert"></p>
<div aria-live="polite"><table id="list" hidden></table><pre id="scored" hidden></pre></div>
<p id="links"><a href="openapi.json">openapi.json</a>, <a href="metrics">metrics</a></p>
</main>
<script>
const byId = name => document.getElementById(name);
let token = "", asked = 0;
async function ask(path, body) {
  const headers = token ? {authorization: "Bearer " + token} : {};
  const more = body ? {method: "POST", body, headers: {...headers,
    "content-type": "application/json"}} : {headers};
  const answer = await fetch(path, more).catch(() => { throw new Error(
    "The server does not answer.") });
  if (answer.status === 401) byId("secret").hidden = !(byId("links").hidden = true);
  const data = await answer.json().catch(() => ({message: "The answer is no JSON."}));
  if (!answer.ok || data.message) throw new Error(data.message);
  return [data, answer.headers.get("x-model-name"), answer.headers.get("x-model-version")];
}
// The answer to the last request is shown; a late answer to an earlier one is not.
async function shown(request, show) {
  const own = ++asked;
  byId("problem").textContent = "";
  byId("list").hidden = byId("scored").hidden = true;
  try {
    const found = await request();
    if (own === asked) show(found);
  } catch (error) { if (own === asked) byId("problem").textContent = error.message }
}
function list([data, name, version]) {
  const table = byId("list");
  table.replaceChildren();
  table.hidden = false;
  table.createCaption().textContent = name + ", version " + version
    + (data.items.length ? "" : ": no items");
  if (!data.items.length) return;
  const head = table.createTHead().insertRow();
  for (const title of ["Item", "Score"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = title;
    head.append(cell);
  }
  const rows = table.createTBody();
  for (const each of data.items) {
    const row = rows.insertRow();
    row.insertCell().textContent = each.item_id;
    row.insertCell().textContent = each.score.toPrecision(5);
  }
}
function scores([data]) {
  byId("scored").hidden = false;
  byId("scored").textContent = JSON.stringify(data.predictions[0], null, 1);
}
const onSubmit = (form, request, show) => byId(form).onsubmit = event => {
  event.preventDefault(); shown(() => request(event.target), show) };
onSubmit("user", form => ask("recommend/" + encodeURIComponent(form.user.value)), list);
onSubmit("item", form => ask("similar/" + encodeURIComponent(form.item.value)), list);
onSubmit("rows", form => {
  JSON.parse(form.row.value);  // sent as written: a number may have more digits than this language
  return ask("invocations", '{"dataframe_records":[' + form.row.value + "]}");
}, scores);
onSubmit("secret", form => { token = form.token.value; return ask("openapi.json") }, describe);
function describe([data]) {
  byId("secret").hidden = true;
  byId("title").textContent = document.title = data.info.title;
  byId("user").hidden = !("/recommend/{user}" in data.paths);
  byId("item").hidden = !("/similar/{item}" in data.paths);
  byId("rows").hidden = !byId("user").hidden;
  const form = data.paths["/invocations"].post.requestBody.content["application/json"].schema;
  const row = form.oneOf[0].properties.dataframe_records.items;
  const example = Object.fromEntries(row.required.map(name => [name, null]));
  byId("rows").row.value = JSON.stringify(example, null, 1);
}
shown(() => ask("openapi.json"), describe);
</script></html>
"""
