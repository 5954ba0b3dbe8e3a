// Calls the gateway with a client typed by the generated contract; prints what came back as one JSON line.
import createClient from "openapi-fetch";
import type { paths } from "./contract.js";

declare const process: { env: Record<string, string> };

const client = createClient<paths>({
  baseUrl: process.env.BASE_URL,
  headers: { Authorization: `Bearer ${process.env.KEY}` },
});
const { data, error, response } = await client.POST("/v1/chat/completions", {
  body: { model: "gpt-4o", messages: [{ role: "user", content: "hello" }] },
});
// `data` and `error` are typed by the contract: the compiler refuses a member that it does not state.
const code: string | null | undefined = error?.error.code;
const answer: string | null | undefined = data?.choices[0]?.message.content;
console.log(JSON.stringify({ status: response.status, code: code ?? null, answer: answer ?? null }));
