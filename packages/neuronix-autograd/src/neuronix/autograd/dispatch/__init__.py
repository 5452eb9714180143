"""How torch functions and changes in place arrive at this engine's operations; each file says its part."""
