// A program that uses the Vercel AI SDK: `node ask.mjs BASE_URL KEY PROVIDER`, where PROVIDER is `openai` or `compatible`.
// Each case is a call as anybody would write it. The SDK has no call that lists models.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, Output, streamText, tool } from "ai";
import { z } from "zod";
import { TEXT, tell } from "./telling.mjs";

const [baseURL, key, provider] = process.argv.slice(2);
const made = {
  openai: (apiKey) => createOpenAI({ baseURL, apiKey }),
  compatible: (apiKey) => {
    const features = { includeUsage: true, supportsStructuredOutputs: true };
    return createOpenAICompatible({ name: "gateway", baseURL, apiKey, ...features });
  },
}[provider];
const sdk = made(key);
const stranger = made("no-such-key");
const chat = (client, model) => (client.chat ?? client.chatModel)(model); // `openai` would speak of responses else
const prompt = TEXT;
const tools = { get_weather: tool({ inputSchema: z.object({ city: z.string() }) }) };
const Answer = z.object({ answer: z.number(), sure: z.boolean() });

const told = (usage, response) => ({ model: response.modelId, input: usage.inputTokens, output: usage.outputTokens });
const call = ([{ toolName, input }]) => ({ name: toolName, arguments: input });
const answer = async (client, model) => {
  const { text, usage, response } = await generateText({ model: chat(client, model), prompt });
  return { text, ...told(usage, response) };
};
const stream = async (heard, model) => {
  const result = streamText({ model: chat(sdk, model), prompt, onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") heard.push(part.text);
    if (part.type === "error") throw part.error; // the SDK itself tells of a broken stream by a part of it
  }
  return told(await result.usage, await result.response);
};

await tell({
  whole: () => answer(sdk, "general"),
  streamed: (heard) => stream(heard, "general"),
  called: async () => call((await generateText({ model: chat(sdk, "tools"), prompt, tools })).toolCalls),
  called_in_pieces: async () => call(await streamText({ model: chat(sdk, "tools"), prompt, tools }).toolCalls),
  typed: async () => {
    const output = Output.object({ schema: Answer });
    return (await generateText({ model: chat(sdk, "json"), prompt, output })).output;
  },
  embedded: async () => (await embed({ model: sdk.embeddingModel("vectors"), value: TEXT })).embedding.length,
  wrong_key: () => answer(stranger, "general"),
  unknown_model: () => answer(sdk, "nobody"),
  limited: () => answer(sdk, "limited"),
  down: () => answer(sdk, "down"),
  cut: (heard) => stream(heard, "cut"),
});
