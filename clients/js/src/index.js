/** Runs flows on a Headgate server, from Node >= 18 and from browsers. No dependencies. */
export { HeadgateClient, HeadgateClient as LangflowClient } from "./client.js";
export { ConnectionFailed, HeadgateError, InvalidWebhook, RunFailed, WaitTimeout } from "./errors.js";
export { Batch, FlowResult, Run, RunEvent } from "./results.js";
export { verifyWebhook } from "./webhooks.js";
