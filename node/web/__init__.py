"""The web interface: what people see and may do, and the HTTP door that programs use.

server     uvicorn in a thread of `harmonode serve`
app        the application: routers, headers, errors
tokens     who may come in, in the database
auth       who asks: a bearer token, or the signed cookie of a browser; `require` guards every route
"""
