// Uses a gateway in Phase 2 with openai-node, and prints what the program that uses the SDK would see, one JSON line a case.
import OpenAI from "openai";

const { BASE_URL, KEY, CUT, LIMITED, UNAVAILABLE } = process.env;
const openai = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "hello there" }];
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];

async function streamed(request) {
  const seen = { content: "", arguments: "", name: null, reason: null, tokens: null };
  for await (const chunk of await openai.chat.completions.create({ ...request, stream: true })) {
    const choice = chunk.choices[0];
    const call = choice?.delta.tool_calls?.[0];
    seen.content += choice?.delta.content ?? "";
    seen.arguments += call?.function?.arguments ?? "";
    seen.name = call?.function?.name ?? seen.name;
    seen.reason = choice?.finish_reason ?? seen.reason;
    seen.tokens = chunk.usage?.total_tokens ?? seen.tokens;
  }
  return seen;
}

const cases = {
  chat: async () => {
    const { choices, model } = await openai.chat.completions.create({ model: "general", messages });
    return { content: choices[0].message.content, reason: choices[0].finish_reason, model };
  },
  stream: () => streamed({ model: "general", messages, stream_options: { include_usage: true } }),
  tool: async () => {
    const { choices } = await openai.chat.completions.create({ model: "tool-call", messages, tools });
    const { name, arguments: text } = choices[0].message.tool_calls[0].function;
    return { name, arguments: text, reason: choices[0].finish_reason };
  },
  "tool-stream": () => streamed({ model: "tool-call", messages, tools }),
  models: async () => {
    const ids = [];
    for await (const model of openai.models.list()) ids.push(model.id);
    return { general: ids.includes("general") };
  },
  embedding: async () => {
    const { data } = await openai.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
    return { vectors: data.length, numbers: data[0].embedding.every(Number.isFinite) };
  },
  unknown: () => openai.chat.completions.create({ model: "no-such-model", messages }),
  category: () => openai.chat.completions.create({ model: "text-embedding-3-small", messages }),
  blocked: () => openai.chat.completions.create({ model: "guarded", messages: [{ role: "user", content: "ada@example.org" }] }),
  limited: () => openai.chat.completions.create({ model: LIMITED, messages }),
  unavailable: () => streamed({ model: UNAVAILABLE, messages }),
  cut: () => streamed({ model: CUT, messages }),
};

for (const [name, ask] of Object.entries(cases)) {
  try {
    console.log(JSON.stringify({ case: name, ...(await ask()) }));
  } catch (error) {
    const { status, code } = error;
    console.log(JSON.stringify({ case: name, class: error.constructor.name, status: status ?? null, code: code ?? null }));
  }
}
