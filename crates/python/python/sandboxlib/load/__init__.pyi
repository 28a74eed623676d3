from sandboxlib.load import appc as appc
