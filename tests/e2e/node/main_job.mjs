// The main job with the official Node SDKs: upload, register, chat streamed and not, delete.
// Arguments: base URL, API key, adapter ZIP, base model. Prints one JSON object.
import fs from 'node:fs';
import Groq from 'groq-sdk';
import OpenAI from 'openai';

const [baseURL, apiKey, archive, baseModel] = process.argv.slice(2);
const groq = new Groq({ baseURL, apiKey, maxRetries: 0 });
const openai = new OpenAI({ baseURL: `${baseURL}/openai/v1`, apiKey, maxRetries: 0 });
const question = [{ role: 'user', content: 'What is the capital of France?' }];
const sampling = { temperature: 0, max_tokens: 24 };

async function ask(client, model) {
  const answer = await client.chat.completions.create({ model, messages: question, ...sampling });
  return answer.choices[0].message.content;
}

async function askStreamed(client, model) {
  const stream = await client.chat.completions.create({
    model, messages: question, ...sampling, stream: true,
  });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
  return text;
}

const file = await groq.files.create({ file: fs.createReadStream(archive), purpose: 'fine_tuning' });
const body = { input_file_id: file.id, name: 'node', type: 'lora', base_model: baseModel };
const tuning = await groq.post('/v1/fine_tunings', { body });
const model = tuning.data.fine_tuned_model;

const answers = {};
for (const [name, client] of Object.entries({ groq, openai })) {
  answers[name] = {
    base: await ask(client, baseModel),
    adapter: await ask(client, model),
    streamed: await askStreamed(client, model),
    retrieved: (await client.models.retrieve(model)).id,
  };
}
const files = [];
for await (const listed of openai.files.list()) files.push(listed.id);
await groq.models.delete(model);
const gone = await groq.models.retrieve(model).then(() => null, (error) => error.status);
console.log(JSON.stringify({ model, file: file.id, files, answers, gone }));
