CREATE TYPE side AS ENUM ('buy', 'sell');

CREATE TABLE customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL CHECK (name <> '')
);

CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES customers,
  side side NOT NULL,
  quantity numeric NOT NULL CHECK (quantity > 0),
  price numeric NOT NULL,
  total numeric GENERATED ALWAYS AS (quantity * price) STORED
);
CREATE INDEX orders_of_customer ON orders (customer_id);

CREATE VIEW turnover AS
SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id;

INSERT INTO customers (name) VALUES ('House');
