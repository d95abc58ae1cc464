"""What agents may do: the service's verbs as tools of the Model Context Protocol (MCP)."""
