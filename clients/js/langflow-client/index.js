/** The name that Langflow's documentation imports. */
export * from "headgate-client";
