"""Audits by agents that run elsewhere and call the tools over the Model Context Protocol (MCP).

audit    one audit: its calls recorded, charged and blinded as those of the workbench's own agent
server   the MCP server: tools, resources and a prompt, over stdio
"""
