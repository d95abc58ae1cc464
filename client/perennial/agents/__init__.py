"""Tools of the Model Context Protocol (MCP) by which agents use the service."""
