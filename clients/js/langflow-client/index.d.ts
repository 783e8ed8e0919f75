export * from "headgate-client";
