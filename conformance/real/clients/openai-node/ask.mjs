// A program that uses openai-node: `node ask.mjs BASE_URL KEY`. Each case is a call as anybody would write it.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { TEXT, tell } from "./telling.mjs";

const [baseURL, apiKey] = process.argv.slice(2);
const sdk = new OpenAI({ baseURL, apiKey });
const stranger = new OpenAI({ baseURL, apiKey: "no-such-key" });
const messages = [{ role: "user", content: TEXT }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const Answer = z.object({ answer: z.number(), sure: z.boolean() });

const told = ({ model, usage }) => ({ model, input: usage?.prompt_tokens, output: usage?.completion_tokens });
const call = (completion) => {
  const [{ function: { name, arguments: text } }] = completion.choices[0].message.tool_calls;
  return { name, arguments: JSON.parse(text) };
};
const answer = async (client, model) => {
  const made = await client.chat.completions.create({ model, messages });
  return { text: made.choices[0].message.content, ...told(made) };
};
const stream = async (heard, model) => {
  let last;
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await sdk.chat.completions.create({ model, messages, ...options })) {
    for (const { delta } of chunk.choices) if (delta.content) heard.push(delta.content);
    last = chunk;
  }
  return told(last);
};

await tell({
  whole: () => answer(sdk, "general"),
  streamed: (heard) => stream(heard, "general"),
  called: async () => call(await sdk.chat.completions.create({ model: "tools", messages, tools })),
  called_in_pieces: async () =>
    call(await sdk.chat.completions.stream({ model: "tools", messages, tools }).finalChatCompletion()),
  typed: async () => {
    const format = zodResponseFormat(Answer, "answer");
    const parsed = await sdk.chat.completions.parse({ model: "json", messages, response_format: format });
    return parsed.choices[0].message.parsed;
  },
  embedded: async () => (await sdk.embeddings.create({ model: "vectors", input: TEXT })).data[0].embedding.length,
  models: async () => {
    const ids = [];
    for await (const { id } of sdk.models.list()) ids.push(id);
    return ids.sort();
  },
  wrong_key: () => answer(stranger, "general"),
  unknown_model: () => answer(sdk, "nobody"),
  limited: () => answer(sdk, "limited"),
  down: () => answer(sdk, "down"),
  cut: (heard) => stream(heard, "cut"),
});
