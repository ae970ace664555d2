// An SMSC of the npm package smpp: told what to do by lines of JSON, and tells what happens in them.
'use strict';
const readline = require('readline');
const smpp = require('smpp');

const options = JSON.parse(process.argv[2]);
const bound = new Set();
let count = options.first || 0;
let statuses = [];
let silent = false;

function tell(on, more) {
  process.stdout.write(JSON.stringify({ on, ...more }) + '\n');
}

function bind(session, pdu, kind) {
  if (kind === 'transceiver' && options.pair) {
    session.send(new smpp.PDU('generic_nack', { command_status: 3, sequence_number: pdu.sequence_number }));
    return;
  }
  let status = 0;
  if (pdu.system_id !== 'gateway') status = 0x0f;
  else if (pdu.password !== 'secret') status = 0x0e;
  session.send(pdu.response({ command_status: status }));
  tell('bind', { kind, status });
  if (!status) bound.add(session);
}

function submit(session, pdu) {
  const status = statuses.length ? statuses.shift() : 0;
  const payload = pdu.message_payload;
  const said = payload === undefined ? pdu.short_message : payload;
  const udh = (said.udh || []).map((one) => Buffer.from(one).toString('hex'));
  const id = (++count).toString(options.hex ? 16 : 10);
  tell('submit', {
    status, udh, id,
    to: pdu.destination_addr, from: pdu.source_addr, ton: pdu.dest_addr_ton, from_ton: pdu.source_addr_ton,
    text: said.message, coding: pdu.data_coding, esm: pdu.esm_class, receipt: pdu.registered_delivery,
    payload: payload !== undefined, at: Date.now(),
    sar: [pdu.sar_msg_ref_num, pdu.sar_total_segments, pdu.sar_segment_seqnum],
  });
  if (silent) return;
  if (options.early) report({ id, source: pdu.destination_addr, state: 2 });
  session.send(pdu.response({ command_status: status, message_id: id }));
}

function deliver(wish, fields) {
  for (const session of bound) {
    if (session.kind === 'transmitter') continue;
    session.deliver_sm(fields, (answer) => tell('answered', { ref: wish.ref, status: answer.command_status }));
  }
}

function report(wish) {
  const number = options.hex ? parseInt(wish.id, 16).toString(10).padStart(10, '0') : wish.id;
  const word = { 2: 'DELIVRD', 3: 'EXPIRED', 5: 'UNDELIV', 8: 'REJECTD' }[wish.state];
  const text = `id:${number} sub:001 dlvrd:001 submit date:2601011200 done date:2601011201 stat:${word} err:000 text:id:77`;
  const fields = {
    source_addr: wish.source, source_addr_ton: 1, destination_addr: '491700000001', dest_addr_ton: 1,
    esm_class: 4, data_coding: 0, short_message: text,
  };
  if (!options.hex && !wish.words) {
    fields.receipted_message_id = number;
    fields.message_state = wish.state;
  }
  deliver(wish, fields);
}

const wishes = {
  statuses: (wish) => { statuses = wish.statuses; tell('ready', {}); },
  silent: (wish) => { silent = wish.silent; tell('ready', {}); },
  report,
  message(wish) {
    const said = wish.udh ? { udh: Buffer.from(wish.udh, 'hex'), message: wish.text } : wish.text;
    const fields = {
      source_addr: wish.source, source_addr_ton: wish.ton === undefined ? 1 : wish.ton,
      destination_addr: wish.destination, dest_addr_ton: 1, data_coding: wish.coding,
    };
    if (wish.payload) fields.message_payload = said;
    else fields.short_message = said;
    if (wish.sar) [fields.sar_msg_ref_num, fields.sar_total_segments, fields.sar_segment_seqnum] = wish.sar;
    deliver(wish, fields);
  },
  enquire(wish) {
    for (const session of bound) session.enquire_link((answer) => tell('alive', { status: answer.command_status }));
  },
  cut() {
    for (const session of bound) session.destroy();
    tell('ready', {});
  },
};

const server = smpp.createServer((session) => {
  session.on('error', () => session.destroy());
  session.on('close', () => { bound.delete(session); tell('closed', {}); });
  for (const kind of ['transceiver', 'transmitter', 'receiver']) {
    session.on(`bind_${kind}`, (pdu) => { session.kind = kind; bind(session, pdu, kind); });
  }
  session.on('submit_sm', (pdu) => submit(session, pdu));
  session.on('enquire_link', (pdu) => { session.send(pdu.response()); tell('enquired', {}); });
  session.on('unbind', (pdu) => { tell('unbind', {}); session.send(pdu.response()); session.close(); });
});
server.listen(options.port || 0, '127.0.0.1', () => tell('listening', { port: server.address().port }));
readline.createInterface({ input: process.stdin })
  .on('line', (line) => { const wish = JSON.parse(line); wishes[wish.do](wish); })
  .on('close', () => process.exit(0));
