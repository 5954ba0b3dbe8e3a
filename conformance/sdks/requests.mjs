// Sends one request a case with openai-node, and prints what the program that uses the SDK would see, one JSON line a case.
import OpenAI from "openai";

const { BASE_URL, KEY } = process.env;
const chat = { model: "gpt-4o", messages: [{ role: "user", content: "hello" }] };
const cases = {
  valid: [BASE_URL, KEY, (openai) => openai.chat.completions.create(chat)],
  "wrong-key": [BASE_URL, "no-such-key", (openai) => openai.chat.completions.create(chat)],
  "unknown-path": [`${BASE_URL}/nowhere`, KEY, (openai) => openai.chat.completions.create(chat)],
  "bad-body": [BASE_URL, KEY, (openai) => openai.chat.completions.create({ ...chat, temperature: 3 })],
};

for (const [name, [baseURL, apiKey, send]] of Object.entries(cases)) {
  const openai = new OpenAI({ baseURL, apiKey, defaultHeaders: { "X-Request-ID": `node-${name}` } });
  try {
    await send(openai);
    console.log(JSON.stringify({ name, class: null }));
  } catch (error) {
    const { status, code, param, requestID } = error;
    console.log(JSON.stringify({ name, class: error.constructor.name, status, code, param: param ?? null, requestID }));
  }
}
