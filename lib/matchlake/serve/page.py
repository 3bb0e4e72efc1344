"""The page at /: shows the recommendation list of a user or of items, or scores a row."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>matchlake serve</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
label { display: block; margin-top: .5rem }
input { font: inherit; padding: .2rem .4rem; width: 16rem }
button { font: inherit; padding: .2rem 1rem }
table { border-collapse: collapse; margin-top: 1rem }
td, th { border-bottom: 1px solid #ccc; padding: .2rem 1rem .2rem 0; text-align: left }
td + td { text-align: right; font-variant-numeric: tabular-nums }
#problem { color: #a00 } pre { background: #f4f4f4; padding: .5rem; overflow: auto }
</style>
<h1 id="title">matchlake serve</h1>
<form id="user"><label>Items for the user <input name="user" required></label>
<button>Recommend</button></form>
<form id="item"><label>Items similar to <input name="item" required></label>
<button>Find</button></form>
<form id="rows" hidden><label>A row as JSON</label>
<textarea name="row" rows="8" cols="60"></textarea><br><button>Score</button></form>
<label id="secret" hidden>Token <input name="token" type="password" autocomplete="off"></label>
<p id="problem" role="alert"></p><table id="list"></table><pre id="scored" hidden></pre>
<p><a href="openapi.json">openapi.json</a>, <a href="metrics">metrics</a></p>
<script>
const byId = name => document.getElementById(name);
const token = document.querySelector("[name=token]");
async function ask(path, body) {
  byId("problem").textContent = "";
  const headers = token.value ? {authorization: "Bearer " + token.value} : {};
  const more = body ? {method: "POST", body, headers: {...headers,
    "content-type": "application/json"}} : {headers};
  const answer = await fetch(path, more);
  byId("secret").hidden = answer.status !== 401 && !token.value;
  const data = await answer.json();
  if (!answer.ok) { byId("problem").textContent = data.message; throw new Error(data.message) }
  return [data, answer.headers.get("x-model-name"), answer.headers.get("x-model-version")];
}
function show([data, name, version]) {
  const table = byId("list");
  table.replaceChildren();
  table.createCaption().textContent = name + ", version " + version;
  for (const each of data.items) {
    const row = table.insertRow();
    row.insertCell().textContent = each.item_id;
    row.insertCell().textContent = each.score.toPrecision(5);
  }
}
byId("user").onsubmit = async event => { event.preventDefault();
  show(await ask("recommend/" + encodeURIComponent(event.target.user.value))) };
byId("item").onsubmit = async event => { event.preventDefault();
  show(await ask("similar/" + encodeURIComponent(event.target.item.value))) };
byId("rows").onsubmit = async event => { event.preventDefault();
  const [data] = await ask("invocations", '{"dataframe_records":[' + event.target.row.value + "]}");
  byId("scored").hidden = false;
  byId("scored").textContent = JSON.stringify(data, null, 1) };
async function describe() {
  const [data] = await ask("openapi.json");
  byId("title").textContent = data.info.title;
  if ("/similar/{item}" in data.paths) return;
  byId("user").hidden = byId("item").hidden = true;
  byId("rows").hidden = false;
  const form = data.paths["/invocations"].post.requestBody.content["application/json"].schema;
  const row = form.oneOf[0].properties.dataframe_records.items;
  const example = Object.fromEntries(row.required.map(name => [name, null]));
  byId("rows").row.value = JSON.stringify(example, null, 1);
}
token.onchange = describe;
describe();
</script></html>
"""
