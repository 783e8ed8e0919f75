// Four durable steps with Restate's SDK for Node, as its documentation has it.
import * as restate from "@restatedev/restate-sdk";

const service = restate.service({
  name: "FourNodes",
  handlers: {
    run: async (ctx, body) => {
      const given = await ctx.run("in", () => ({ name: String(body.name), prices: [...body.prices] }));
      const text = await ctx.run("greeting", () => `Hello, ${given.name}!`);
      const total = await ctx.run("total", () => ({ text, total: given.prices.reduce((a, b) => a + b, 0) }));
      return await ctx.run("out", () => ({ status: "completed", output: total }));
    },
  },
});

restate.serve({ services: [service], port: Number(process.env.PORT) });
