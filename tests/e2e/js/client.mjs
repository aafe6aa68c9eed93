// What a JavaScript program does with OpenAI's own client. Writes what it got as one JSON object.
//
//     node client.mjs <base URL with /v1> <recording.wav> <picture.png>

import { File } from "node:buffer";
import { createReadStream, readFileSync } from "node:fs";

import OpenAI from "openai";

globalThis.File ??= File; // Node 18 has it, but not in sight

const [baseURL, recording, picture] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 120_000 });

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const model = models[0];

const question = { role: "user", content: "What is the capital of Japan?" };
const whole = await client.chat.completions.create({ model, messages: [question], max_tokens: 20 });

const streamed = { text: "", finishReason: null, usage: null };
const stream = await client.chat.completions.create({
  model,
  messages: [question],
  max_tokens: 20,
  stream: true,
  stream_options: { include_usage: true, include_stages: true },
});
for await (const chunk of stream) {
  streamed.text += chunk.choices[0]?.delta.content ?? "";
  streamed.finishReason = chunk.choices[0]?.finish_reason ?? streamed.finishReason;
  streamed.usage = chunk.usage ?? streamed.usage;
}

const url = `data:image/png;base64,${readFileSync(picture).toString("base64")}`;
const seen = await client.chat.completions.create({
  model,
  messages: [
    {
      role: "user",
      content: [
        { type: "text", text: "What is written in the picture?" },
        { type: "image_url", image_url: { url } },
      ],
    },
  ],
  max_tokens: 40,
});

const embeddings = await client.embeddings.create({ model: "text", input: ["a red apple", "a green pear"] });

const upload = () => ({ model: "whisper-1", file: createReadStream(recording) });
const transcript = await client.audio.transcriptions.create(upload());
const subtitles = await client.audio.transcriptions.create({ ...upload(), response_format: "srt" });
const detailed = await client.audio.transcriptions.create({
  ...upload(),
  response_format: "verbose_json",
  timestamp_granularities: ["word"],
});
const heard = { text: "", done: null };
for await (const event of await client.audio.transcriptions.create({ ...upload(), stream: true })) {
  if (event.type === "transcript.text.delta") heard.text += event.delta;
  if (event.type === "transcript.text.done") heard.done = event.text;
}

let refused = null;
try {
  await client.chat.completions.create({ model: "no-such-model", messages: [question] });
} catch (error) {
  refused = { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
}

process.stdout.write(
  JSON.stringify({
    models,
    whole: { text: whole.choices[0].message.content, usage: whole.usage },
    streamed,
    seen: seen.choices[0].message.content,
    embeddings: embeddings.data.map((row) => row.embedding.length),
    transcript: transcript.text,
    subtitles,
    words: detailed.words.map((word) => word.word),
    heard,
    refused,
  }),
);
