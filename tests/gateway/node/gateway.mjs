// What every script is told by test_node_sdks.py, and the one tool that they all call.
import { tool } from "ai";
import { z } from "zod";

export const { baseURL, key, storingKey, poorKey, hastyKey, models, embedder } = JSON.parse(process.env.TOKIA_SMOKE);
export const question = "Como está o tempo em São Paulo?";
export const city = z.object({ city: z.string() });
export const tools = {
  get_weather: tool({ description: "O tempo numa cidade", inputSchema: city, execute: async ({ city }) => `22 graus em ${city}` }),
};
