"""The warehouse as a Gymnasium environment, over `vendomini world --stdio`.

An action is (tool, supplier, SKU, quantity - 1, position in the list of orders); a tool takes what
it needs of it. An observation has day, actions left, cash, and by SKU stock, open demand and units
on their way; then the published prices and lead times. The reward is the change of the net worth.
The text that a model reads is `info["observation"]`; `card` makes a prediction card of an action.
"""
import json
import subprocess

import gymnasium
import numpy as np


class WarehouseEnv(gymnasium.Env):
    metadata = {"render_modes": []}

    def __init__(self, config=None, sets=("interface.prediction_mode=optional",), binary="vendomini",
                 card=lambda tool, arguments: None, **cell):
        command = [binary, "world", "--stdio", *(["--config", config] if config else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.card, self.cell = card, cell  # cell=2, or levels={"pe_induction.p_shock": 0.2}
        told = self.call("initialize", sets=list(sets), **cell)
        self.tools, self.skus, self.suppliers = told["tools"], told["skus"], told["suppliers"]
        sizes = len(self.skus), len(self.suppliers)
        self.action_space = gymnasium.spaces.MultiDiscrete([len(self.tools), sizes[1], sizes[0], 50, 10])
        width = 3 + 4 * sizes[0] + 2 * sizes[0] * sizes[1]
        self.observation_space = gymnasium.spaces.Box(-1e9, 1e9, (width,), np.float32)

    def call(self, method, **params):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"]["message"])
        return answer["result"]

    def figures(self, state):
        self.inbox = state["inbox"]
        numbers = [[state["day"], state["actions_left"], state["cash"]], state["stock"], state["demanded"],
                   state["on_the_way"], self.market["sale_prices"]]
        numbers += [row for offer in self.market["suppliers"] for row in (offer["prices"], offer["lead_days"])]
        return np.concatenate(numbers).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        begun = self.call("reset", seed=int(self.np_random.integers(2**53)), **self.cell)
        self.market = begun["market"]
        return self.figures(begun["state"]), {"observation": begun["observation"], "seed": begun["seed"]}

    def step(self, action):
        number, supplier, sku, quantity, order = map(int, action)
        tool = self.tools[number]
        listed = lambda kind: ([o["id"] for o in self.inbox[kind]] or ["0"])  # no order has the id 0
        pick = lambda kind: listed(kind)[order % len(listed(kind))]
        values = {"supplier_id": self.suppliers[supplier], "sku": self.skus[sku], "quantity": quantity + 1,
                  "customer_order_id": pick("customer_orders"), "order_id": pick("supplier_orders"),
                  "key": "note", "text": "note"}
        arguments = {name: values[name] for name in tool["arguments"]["properties"]}
        done = self.call("step", tool=tool["name"], arguments=arguments, card=self.card(tool["name"], arguments))
        info = {**done["info"], "observation": done["observation"], "ending": done["ending"]}
        return self.figures(done["state"]), done["reward"], done["terminated"], done["truncated"], info

    def close(self):
        if self.process.poll() is None:
            self.call("close")
            self.process.wait(timeout=10)
        self.process.stdin.close(), self.process.stdout.close()
