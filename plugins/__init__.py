"""The plugins that come with the node, each found by its entry point."""
