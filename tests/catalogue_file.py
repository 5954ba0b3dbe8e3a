"""A settings file that declares `stores.CATALOGUE`, with every member that there is."""

from typing import Final

WHOLE: Final = """
[[organization]]
name = "acme"
limit = "6000/m"
token_limit = "1000000/m"
guardrails = ["long"]
[[organization.agent]]
name = "main"
[[organization.agent]]
name = "support"

[[organization]]
name = "globex"

[[provider]]
name = "vendor"
kind = "openai"
base_url = "https://llm.example/v1"
key = "env:VENDOR_KEY"
headers = { X-Team = "blue", X-Token = "file:/run/token" }
quirks = ["no_stream_options"]
private = true
capacity = 8

[[provider]]
name = "echo"
kind = "echo"

[[guardrail]]
key = "pii"
action = "mask"
stages = ["input"]
detectors = ["email", "card"]
patterns = { ticket = "TCK-[0-9]{6}" }
keywords = ["project x"]
webhook = "https://watch.example/ask"

[[guardrail]]
key = "long"
action = "block"
max_chars = 20000

[[alias]]
id = "general"
display_name = "General"
description = "Everyday work."
category = "llm"
limit = "600/m"
token_limit = "100000/m"
prices = { input = 2.5, output = "10.000001", cached_input = 0 }
guardrails = ["pii"]
[[alias.target]]
provider = "vendor"
model = "large"
weight = 3
order = 0
timeouts = { connect = 1.5, first_byte = 60, idle = 60, total = 600 }
[[alias.target]]
provider = "echo"
order = 1

[[alias]]
id = "vectors"
display_name = "Vectors"
category = "embedding"
visible_to = ["globex"]
[[alias.target]]
provider = "echo"
"""
