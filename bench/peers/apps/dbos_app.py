"""Four durable steps with DBOS, behind FastAPI, as its documentation has it."""

import os
from typing import Any

import uvicorn
from dbos import DBOS, DBOSConfig
from fastapi import FastAPI

app = FastAPI()
config: DBOSConfig = {"name": "four-nodes", "system_database_url": os.environ["DATABASE_URL"]}
DBOS(config=config)


@DBOS.step()
def read(body: dict[str, Any]) -> dict[str, Any]:
    return {"name": str(body["name"]), "prices": list(body["prices"])}


@DBOS.step()
def greet(name: str) -> str:
    return f"Hello, {name}!"


@DBOS.step()
def total(text: str, prices: list[int]) -> dict[str, Any]:
    return {"text": text, "total": sum(prices)}


@DBOS.step()
def answer(value: dict[str, Any]) -> dict[str, Any]:
    return value


@DBOS.workflow()
def four_nodes(body: dict[str, Any]) -> dict[str, Any]:
    given = read(body)
    return answer(total(greet(given["name"]), given["prices"]))


@app.post("/run")
def run(body: dict[str, Any]) -> dict[str, Any]:
    return {"status": "completed", "output": four_nodes(body)}


if __name__ == "__main__":
    DBOS.launch()
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
