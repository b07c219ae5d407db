// The very request of the page as code. A picture of this computer is shortened: it would be megabytes of text.
function shorten(value) {
  if (Array.isArray(value)) return value.map(shorten);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shorten(inner)]));
  return typeof value === "string" && value.startsWith("data:") ? `${value.slice(0, value.indexOf(",") + 1)}…` : value;
}

const indent = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);

// JSON's words in Python; strings are the same in both.
function python(value, depth = 0) {
  const pad = " ".repeat(4 * (depth + 1));
  const end = " ".repeat(4 * depth);
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return value.length ? `[\n${value.map((inner) => pad + python(inner, depth + 1)).join(",\n")},\n${end}]` : "[]";
  if (typeof value === "object") return `{\n${Object.entries(value).map(([name, inner]) => `${pad}${JSON.stringify(name)}: ${python(inner, depth + 1)}`).join(",\n")},\n${end}}`;
  return JSON.stringify(value);
}

export function writeCode(baseUrl, body) {
  const shown = shorten(body);
  const json = JSON.stringify(shown, null, 2);
  const quoted = json.replaceAll("'", "'\\''");
  const { drop_params: drops, ...known } = shown; // our own word: the SDKs carry it beside theirs
  const named = Object.entries(known).map(([name, value]) => `    ${name}=${indent(python(value), 4)},`);
  if (drops !== undefined) named.push(`    extra_body={"drop_params": ${python(drops)}},`);
  return {
    curl: `curl ${baseUrl}/chat/completions \\\n  -N -H "Authorization: Bearer $TOKIA_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${quoted}'`,
    python: `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${baseUrl}", api_key=os.environ["TOKIA_API_KEY"])\nstream = client.chat.completions.create(\n${named.join("\n")}\n)\nfor chunk in stream:\n    if chunk.choices and chunk.choices[0].delta.content:\n        print(chunk.choices[0].delta.content, end="", flush=True)\n`,
    node: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${baseUrl}", apiKey: process.env.TOKIA_API_KEY });\nconst stream = await client.chat.completions.create(${json});\nfor await (const chunk of stream) {\n  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n}\n`,
  };
}
