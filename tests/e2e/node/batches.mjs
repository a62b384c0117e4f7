// A batch with the official Node SDKs: upload, create, wait, download, list.
// Arguments: base URL, API key, model. Prints one JSON object.
import Groq, { toFile as groqFile } from 'groq-sdk';
import OpenAI, { toFile as openaiFile } from 'openai';

const [baseURL, apiKey, model] = process.argv.slice(2);
const endpoint = '/v1/chat/completions';
const body = { model, messages: [{ role: 'user', content: 'Hi' }], temperature: 0, max_tokens: 4 };
const lines = ['a', 'b', 'c'].map((id) => ({ custom_id: id, method: 'POST', url: endpoint, body }));
const jsonl = Buffer.from(lines.map((line) => JSON.stringify(line)).join('\n'));
const ended = ['completed', 'failed', 'expired', 'cancelled'];

async function run(client, toFile) {
  const file = await client.files.create({ file: await toFile(jsonl, 'in.jsonl'), purpose: 'batch' });
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint, completion_window: '24h',
  });
  while (!ended.includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await client.batches.retrieve(batch.id);
  }
  const output = await (await client.files.content(batch.output_file_id)).text();
  const listed = (await client.batches.list()).data.some((one) => one.id === batch.id);
  const ids = output.trim().split('\n').map((line) => JSON.parse(line).custom_id);
  return { status: batch.status, counts: batch.request_counts, ids, listed };
}

const groq = new Groq({ baseURL, apiKey, maxRetries: 0 });
const openai = new OpenAI({ baseURL: `${baseURL}/openai/v1`, apiKey, maxRetries: 0 });
console.log(JSON.stringify({ groq: await run(groq, groqFile), openai: await run(openai, openaiFile) }));
