"""The native compiler: Graph -> regions -> loops -> LLVM -> machine code, for this processor.

Receives: a rewritten graph. Returns: a `NativeProgram`, arrays in and arrays out. Next: `runtime`
runs it, also many steps in one call.
"""
