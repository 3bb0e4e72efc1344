import * as ort from 'onnxruntime-web';
import fs from 'node:fs';
const [,, graph, rows] = process.argv;
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'fatal';
const session = await ort.InferenceSession.create(fs.readFileSync(graph), {executionProviders: ['wasm']});
const given = JSON.parse(fs.readFileSync(rows, 'utf8'));
const feeds = {};
for (const [name, {kind, shape, data}] of Object.entries(given))
  feeds[name] = new ort.Tensor(kind, kind === 'string' ? data : Float64Array.from(data, v => v ?? NaN), shape);
const found = await session.run(feeds);
const answer = {};
for (const [name, tensor] of Object.entries(found)) answer[name] = Array.from(tensor.data, v => typeof v === 'bigint' ? Number(v) : v);
console.log(JSON.stringify(answer));
