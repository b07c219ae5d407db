// Examples to begin with, in both of the page's languages. Each fills the messages and the options, and is the person's to change.
export const PRESETS = {
  resumo: {
    options: { max_tokens: "300", temperature: "0.3", json: false },
    messages: [
      { role: "system", text: "Resuma o texto em até três frases curtas, em português, sem opinião." },
      { role: "user", text: "A reunião de segunda decidiu adiar o lançamento para 15 de março, porque a integração com o banco ainda falha em 2% dos pagamentos. Ana cuida da correção até sexta; Bruno avisa os clientes que já tinham data. O orçamento não muda." },
    ],
  },
  extracao: {
    options: { max_tokens: "300", temperature: "0", json: true },
    messages: [
      { role: "system", text: "Extraia os dados do texto e responda só com um objeto JSON com os campos: nome, cnpj, valor_brl (número) e vencimento (AAAA-MM-DD). Use null para o que faltar." },
      { role: "user", text: "Padaria Sol Nascente Ltda, CNPJ 11.222.333/0001-81, pediu a segunda via do boleto de R$ 1.240,50 que vence em 10/12/2026." },
    ],
  },
  classificacao: {
    options: { max_tokens: "50", temperature: "0", json: false },
    messages: [
      { role: "system", text: "Classifique a mensagem do cliente em uma destas categorias: cobrança, defeito, dúvida, elogio, cancelamento. Responda só com a categoria." },
      { role: "user", text: "Paguei o PIX ontem à noite e o saldo ainda não apareceu no aplicativo. Podem ver?" },
    ],
  },
  codigo: {
    options: { max_tokens: "800", temperature: "0.2", json: false },
    messages: [
      { role: "system", text: "Você escreve Python claro e testado. Responda com o código e uma explicação curta." },
      { role: "user", text: "Escreva uma função que confere os dígitos verificadores de um CPF, com dois testes." },
    ],
  },
};

export const ENGLISH = {
  resumo: {
    options: PRESETS.resumo.options,
    messages: [
      { role: "system", text: "Summarize the text in at most three short sentences, in English, without opinion." },
      { role: "user", text: "Monday's meeting decided to postpone the launch to March 15, because the integration with the bank still fails in 2% of payments. Ana takes care of the fix by Friday; Bruno tells the clients who already had a date. The budget does not change." },
    ],
  },
  extracao: {
    options: PRESETS.extracao.options,
    messages: [
      { role: "system", text: "Extract the data from the text and answer only with a JSON object with the fields: name, cnpj, amount_brl (number) and due_on (YYYY-MM-DD). Use null for what is missing." },
      { role: "user", text: "Padaria Sol Nascente Ltda, CNPJ 11.222.333/0001-81, asked for a second copy of the boleto of R$ 1,240.50 due on December 10, 2026." },
    ],
  },
  classificacao: {
    options: PRESETS.classificacao.options,
    messages: [
      { role: "system", text: "Classify the client's message into one of these categories: billing, defect, question, praise, cancellation. Answer only with the category." },
      { role: "user", text: "I paid the PIX last night and the balance has not shown up in the app yet. Can you check?" },
    ],
  },
  codigo: {
    options: PRESETS.codigo.options,
    messages: [
      { role: "system", text: "You write clear, tested Python. Answer with the code and a short explanation." },
      { role: "user", text: "Write a function that checks the check digits of a CPF, with two tests." },
    ],
  },
};
