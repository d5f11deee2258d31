"""The shop's page, its health and its metrics."""

import os
import tomllib
from pathlib import Path

from flask import Flask, Response, redirect, render_template_string, request

from shop import database

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ name }}</title>
<style>
  body { font: 18px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
  h1 { margin-bottom: 0 } small { color: #666 }
  form { display: flex; gap: .5rem; margin: 2rem 0 }
  input { flex: 1; font: inherit; padding: .4rem .6rem } button { font: inherit; padding: .4rem 1.2rem }
  li { margin: .3rem 0 } .shipped { color: #0a7d33 }
</style>
<h1>{{ name }}</h1>
<small>{{ total }} orders, {{ shipped }} shipped</small>
<form method="post" action="/orders">
  <input name="item" placeholder="What would you like?" maxlength="80" required autofocus>
  <button>Order</button>
</form>
<ul>
{% for id, item, done in orders %}
  <li>{{ item }} {% if done %}<span class="shipped">shipped</span>{% else %}waiting{% endif %}</li>
{% endfor %}
</ul>
"""
METRICS = """\
# HELP shop_orders_total Orders that came in.
# TYPE shop_orders_total counter
shop_orders_total {total}
# HELP shop_orders_shipped_total Orders that were shipped.
# TYPE shop_orders_shipped_total counter
shop_orders_shipped_total {shipped}
"""


def create_app():
    """The app; its settings are read and its table is made once."""
    app = Flask(__name__)
    settings = tomllib.loads(Path(os.environ["SETTINGS_FILE"]).read_text())
    with database.connect() as db:
        db.execute(database.SCHEMA)

    @app.get("/")
    def page():
        with database.connect() as db:
            total, shipped = database.count(db)
            query = "SELECT id, item, shipped IS NOT NULL FROM orders ORDER BY id DESC LIMIT %s"
            orders = db.execute(query, [settings["page"]["size"]]).fetchall()
        name = os.environ["SHOP_NAME"]
        return render_template_string(PAGE, name=name, total=total, shipped=shipped, orders=orders)

    @app.post("/orders")
    def order():
        item = request.form.get("item", "").strip()[:80]
        if not item:
            return Response("nothing was ordered\n", 400, mimetype="text/plain")
        with database.connect() as db:
            (number,) = db.execute("INSERT INTO orders (item) VALUES (%s) RETURNING id", [item]).fetchone()
            db.execute("NOTIFY orders")
        print(f"<6>order {number} came in", flush=True)
        return redirect("/", 303)

    @app.get("/health")
    def health():
        with database.connect() as db:
            db.execute("SELECT 1")
        return Response("well\n", mimetype="text/plain")

    @app.get("/metrics")
    def metrics():
        with database.connect() as db:
            total, shipped = database.count(db)
        return Response(METRICS.format(total=total, shipped=shipped), mimetype="text/plain; version=0.0.4")

    return app
